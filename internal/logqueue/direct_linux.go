package logqueue

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

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
		return &direct{write: func(p []byte) (int, error) {
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
	return &direct{
		write:    func(p []byte) (int, error) { return unix.Write(own, p) },
		closeOwn: func() error { return unix.Close(own) },
	}
}

// isFull says whether err is that of a file that takes nothing for now.
func isFull(err error) bool {
	return errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOBUFS)
}
