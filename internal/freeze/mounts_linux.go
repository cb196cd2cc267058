package freeze

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A mount is a line of /proc/self/mountinfo.
type mount struct {
	id      uint64
	device  string // the file system's
	point   string
	kind    string
	options string // of the file system, which all its mounts have
}

// written are the file systems without a disk of their own that keep files elsewhere: their copies
// may lack what was written to them. Others without a disk keep nothing.
var written = []string{"overlay", "zfs", "virtiofs", "9p", "hostfs", "nfs", "nfs4", "cifs", "smb3", "ceph", "ecryptfs"}

func mounts() (points, special []string, err error) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, nil, err
	}
	kinds, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return nil, nil, err
	}
	points, special = choose(parseMounts(string(info)), diskless(string(kinds)), isOnTop)
	return points, special, nil
}

// choose returns the mount points of file systems to freeze, each one once. onTop says whether a
// mount is what its mount point leads to.
func choose(all []mount, diskless map[string]bool, onTop func(mount) bool) (points, special []string) {
	seen := make(map[string]bool)
	for _, m := range all {
		fuse := m.kind == "fuse" || strings.HasPrefix(m.kind, "fuse.")
		switch freezes := !diskless[m.kind] && !fuse; {
		case seen[m.device] || !has(m.options, "rw"):
			continue
		case freezes && onTop(m): // neither a file nor hidden; otherwise there may be another mount
			points = append(points, m.point)
		case !freezes && (fuse || slices.Contains(written, m.kind)):
			special = append(special, fmt.Sprintf("%s at %s cannot be frozen", m.kind, m.point))
		default:
			continue
		}
		seen[m.device] = true
	}
	slices.Reverse(points)
	return points, special
}

// has reports whether a list with commas has an option.
func has(options, one string) bool { return slices.Contains(strings.Split(options, ","), one) }

func parseMounts(info string) (all []mount) {
	for line := range strings.Lines(info) {
		before, after, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		own, system := strings.Fields(before), strings.Fields(after)
		if !ok || len(own) < 6 || len(system) < 3 {
			continue
		}
		id, _ := strconv.ParseUint(own[0], 10, 64)
		all = append(all, mount{
			id: id, device: own[2], point: unescape(own[4]), kind: system[0], options: system[len(system)-1],
		})
	}
	return all
}

// unescape takes back the octal numbers that stand for spaces and backslashes in a path.
func unescape(path string) string {
	if !strings.Contains(path, `\`) {
		return path
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '\\' && i+4 <= len(path) {
			if n, err := strconv.ParseUint(path[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

// diskless returns the file systems that have no disk of their own.
func diskless(filesystems string) map[string]bool {
	kinds := make(map[string]bool)
	for line := range strings.Lines(filesystems) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "nodev" {
			kinds[f[1]] = true
		}
	}
	return kinds
}

// isOnTop reports whether the path of a mount point leads to the mount, and to a directory.
func isOnTop(m mount) bool {
	var s unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, m.point, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE|unix.STATX_MNT_ID, &s)
	if err != nil || s.Mode&unix.S_IFMT != unix.S_IFDIR {
		return false
	}
	return s.Mask&unix.STATX_MNT_ID == 0 || s.Mnt_id == m.id
}
