package files

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setTime sets the modification time of an open file, and the time of access to the same.
func setTime(fd int, sec int64, ns uint64) error {
	t := timespec(sec, ns)
	times := [2]unix.Timespec{t, t}
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// extent returns the next part of the file at or after offset that has data. Before it are zeros.
func (f *file) extent(offset, size int64) (from, to int64, err error) {
	from, err = unix.Seek(f.fd, offset, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, size, nil
	case err != nil: // a file system that does not know
		return offset, size, f.seek(offset)
	}
	to, err = unix.Seek(f.fd, from, unix.SEEK_HOLE)
	if err != nil {
		return offset, size, f.seek(offset)
	}
	return min(from, size), min(to, size), f.seek(from)
}

// sync writes the file system that d is on to disk.
func (d *dir) sync() error { return unix.Syncfs(d.fd) }

// openIn opens path, which is resolved as if d were the root directory.
func (d *dir) openIn(path string, flags int) (int, error) {
	fd, err := unix.Openat2(d.fd, path, &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w: --files-root needs openat2(2), of Linux 5.6", errors.ErrUnsupported)
	}
	return fd, err
}

// statIn looks at what path leads to, if d were the root directory.
func (d *dir) statIn(path string) (*info, error) {
	fd, err := d.openIn(path, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return (&dir{fd: fd}).stat()
}
