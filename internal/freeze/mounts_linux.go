package freeze

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A point is where a file system can be reached.
type point struct {
	Point  string `json:"point"`
	Device string `json:"device"` // the file system's, as /proc/self/mountinfo has it
}

// atPoints makes points of paths.
func atPoints(paths []string) (all []point) {
	for _, path := range paths {
		p := point{Point: path}
		var s unix.Stat_t
		if unix.Stat(path, &s) == nil {
			p.Device = deviceOf(s.Dev)
		}
		all = append(all, p)
	}
	return all
}

func deviceOf(number uint64) string {
	return fmt.Sprintf("%d:%d", unix.Major(number), unix.Minor(number))
}

// A mount is a line of /proc/self/mountinfo.
type mount struct {
	id      uint64
	device  string // the file system's
	point   string
	kind    string
	source  string
	options string // of the file system, which all its mounts have
}

// written are the file systems without a disk of their own that keep files elsewhere: their copies
// may lack what was written to them. Others without a disk keep nothing.
var written = []string{"overlay", "zfs", "virtiofs", "9p", "hostfs", "nfs", "nfs4", "cifs", "smb3", "ceph", "ecryptfs", "ubifs", "jffs2", "vboxsf", "lustre"}

// listMounts returns the file systems to freeze, in the order in which that is done, and names others that
// are written to.
func listMounts() (points []point, special []string, err error) {
	all, err := readMounts()
	if err != nil {
		return nil, nil, err
	}
	kinds, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return nil, nil, err
	}
	points, special = choose(all, diskless(string(kinds)), reach, backing)
	return points, special, nil
}

func readMounts() ([]mount, error) {
	info, err := os.ReadFile("/proc/self/mountinfo")
	return parseMounts(string(info)), err
}

// A reached says what a mount's path leads to.
type reached int

const (
	unreachable reached = iota // something else is mounted over it
	aFile
	aDirectory
)

// choose returns the file systems to freeze. A later mount comes first. A file system in a file of
// another one comes before that. reach says what a mount's path leads to, and backing
// which devices a device is kept on.
func choose(all []mount, diskless map[string]bool, reach func(mount) reached, backing func(mount) []string) (points []point, special []string) {
	seen := make(map[string]bool)
	for _, m := range all {
		fuse := m.kind == "fuse" || strings.HasPrefix(m.kind, "fuse.")
		if seen[m.device] || !has(m.options, "rw") {
			continue
		}
		seen[m.device] = true
		switch freezes := !diskless[m.kind] && !fuse; {
		case freezes:
			if best, ok := bestPoint(all, m.device, reach); ok {
				points = append(points, point{best, m.device})
			} else {
				special = append(special, fmt.Sprintf("%s at %s is hidden by another mount, and not frozen", m.kind, m.point))
			}
		case fuse || slices.Contains(written, m.kind):
			special = append(special, fmt.Sprintf("%s at %s cannot be frozen", m.kind, m.point))
		}
	}
	slices.Reverse(points)
	depths := depthsOf(all, backing)
	slices.SortStableFunc(points, func(a, b point) int { return depths[b.Device] - depths[a.Device] })
	return points, special
}

// bestPoint returns a path that leads to a file system: a directory, or else a file.
func bestPoint(all []mount, device string, reach func(mount) reached) (path string, ok bool) {
	for _, want := range []reached{aDirectory, aFile} {
		for _, m := range all {
			if m.device == device && reach(m) == want {
				return m.point, true
			}
		}
	}
	return "", false
}

// depthsOf returns how many other file systems each one lies in.
func depthsOf(all []mount, backing func(mount) []string) map[string]int {
	on := make(map[string][]string)
	for _, m := range all {
		if _, ok := on[m.device]; !ok {
			on[m.device] = backing(m)
		}
	}
	depths := make(map[string]int)
	var depth func(device string, most int) int
	depth = func(device string, most int) int {
		deepest := 0
		for _, below := range on[device] {
			if most > 0 && below != device {
				deepest = max(deepest, 1+depth(below, most-1))
			}
		}
		return deepest
	}
	for device := range on {
		depths[device] = depth(device, maxDepth)
	}
	return depths
}

// maxDepth is more than file systems lie in each other.
const maxDepth = 16

// backing returns the devices of the file systems whose files a file system is kept in: it is on a loop
// device, perhaps below a mapped one.
func backing(m mount) (devices []string) {
	device := m.device
	var s unix.Stat_t
	if strings.HasPrefix(m.source, "/dev/") && unix.Stat(m.source, &s) == nil { // btrfs has a number of its own
		device = deviceOf(s.Rdev)
	}
	return loopsBelow(device, maxDepth)
}

func loopsBelow(device string, most int) (devices []string) {
	path := "/sys/dev/block/" + device
	if _, err := os.Stat(path + "/loop"); err == nil {
		if on, err := loopOn(path); err == nil {
			devices = append(devices, on)
		}
	}
	slaves, _ := filepath.Glob(path + "/slaves/*/dev")
	for _, slave := range slaves {
		number, err := os.ReadFile(slave)
		if err == nil && most > 0 {
			devices = append(devices, loopsBelow(strings.TrimSpace(string(number)), most-1)...)
		}
	}
	return devices
}

// loopOn returns the device of the file system that a loop device's file is in.
func loopOn(path string) (string, error) {
	name, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	f, err := os.Open("/dev/" + filepath.Base(name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err != nil {
		return "", err
	}
	return deviceOf(info.Device), nil
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
			id: id, device: own[2], point: unescape(own[4]), kind: system[0], source: unescape(system[1]), options: system[len(system)-1],
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

// reach says what the path of a mount leads to.
func reach(m mount) reached {
	var s unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, m.point, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE|unix.STATX_MNT_ID, &s)
	if err != nil || s.Mask&unix.STATX_MNT_ID != 0 && s.Mnt_id != m.id {
		return unreachable
	}
	switch s.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return aDirectory
	case unix.S_IFREG:
		return aFile
	default:
		return unreachable
	}
}
