package files

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// setSpecial notes which fifo or device st is of.
func (i *info) setSpecial(st *unix.Stat_t) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		i.special = typeFifo
	case unix.S_IFCHR:
		i.special = typeCharacter
	case unix.S_IFBLK:
		i.special = typeBlock
	case unix.S_IFSOCK:
		i.special = typeSocket
	}
	i.major, i.minor = uint64(unix.Major(st.Rdev)), uint64(unix.Minor(st.Rdev))
}

func (d *dir) mknod(name string, typ Kind, major, minor uint64) error {
	mode := map[Kind]uint32{typeFifo: unix.S_IFIFO, typeCharacter: unix.S_IFCHR, typeBlock: unix.S_IFBLK}[typ]
	return unix.Mknodat(d.fd, name, mode|0o600, int(unix.Mkdev(uint32(major), uint32(minor))))
}

// A nodeFile is a fifo or a device that is not open for reading or writing (O_PATH).
type nodeFile struct{ fd int }

// openNode opens what mknod has made for f, and not what somebody has put in its place.
func (d *dir) openNode(name string, f *Frame) (*nodeFile, error) {
	fd, err := openat(d.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	n := &nodeFile{fd: fd}
	i, err := (&dir{fd: fd}).stat()
	isDevice := f.Type != typeFifo
	if err != nil || i.special != f.Type || i.nlink != 1 || isDevice && (i.major != f.Major || i.minor != f.Minor) {
		n.close()
		return nil, errReplaced
	}
	return n, nil
}

func (n *nodeFile) close() { _ = unix.Close(n.fd) }

// path is the node, for system calls that take no descriptor of O_PATH.
func (n *nodeFile) path() string { return fmt.Sprintf("/proc/self/fd/%d", n.fd) }

func (n *nodeFile) setMode(mode uint64) error { return unix.Chmod(n.path(), uint32(mode)) }

func (n *nodeFile) setOwner(uid, gid int) error {
	return unix.Fchownat(n.fd, "", uid, gid, unix.AT_EMPTY_PATH)
}

func (n *nodeFile) setTime(sec int64, ns uint64) error {
	t := timespec(sec, ns)
	return unix.UtimesNanoAt(unix.AT_FDCWD, n.path(), []unix.Timespec{t, t}, 0)
}
