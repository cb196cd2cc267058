//go:build linux

package logqueue

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A direct writes to a file and never blocks.
type direct struct {
	write  func(p []byte) (int, error)
	opened int // a descriptor that belongs to it; -1: it has none
}

// nonBlocking returns nil if file has no write that never blocks. The file's
// description may be shared with other programs, a shell for one, and so is not
// made non-blocking: sockets have a flag for each call, and pipes and terminals
// are opened once more. Regular files have neither: a disk that hangs, or a
// frozen file system, blocks every write.
func nonBlocking(file *os.File) (d *direct) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil
	}
	_ = raw.Control(func(fd uintptr) { d = nonBlockingFD(int(fd)) })
	return d
}

func nonBlockingFD(fd int) *direct {
	var stat unix.Stat_t
	if unix.Fstat(fd, &stat) != nil {
		return nil
	}
	switch stat.Mode & unix.S_IFMT {
	case unix.S_IFSOCK:
		return &direct{opened: -1, write: func(p []byte) (int, error) {
			return unix.SendmsgN(fd, p, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		}}
	case unix.S_IFIFO, unix.S_IFCHR:
		return reopen(fd)
	default:
		return nil
	}
}

// reopen fails if there is no /proc, or the file may not be opened by its name.
func reopen(fd int) *direct {
	own, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return &direct{opened: own, write: func(p []byte) (int, error) { return unix.Write(own, p) }}
}

// close may be called on nil.
func (d *direct) close() {
	if d != nil && d.opened >= 0 {
		_ = unix.Close(d.opened)
	}
}

// isFull says whether err is that of a file that takes nothing for now.
func isFull(err error) bool {
	return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOBUFS)
}
