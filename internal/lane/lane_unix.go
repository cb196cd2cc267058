//go:build linux || darwin

package lane

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// readFD is read(2). It is not ready if there is nothing to read yet.
func readFD(_ syscall.RawConn, fd uintptr, p []byte) (n int, ready bool, err error) {
	for {
		n, err = unix.Read(int(fd), p)
		if !errors.Is(err, unix.EINTR) {
			return n, !errors.Is(err, unix.EAGAIN), err
		}
	}
}

// tryWriteFD is write(2) to a descriptor that does not block. A full one takes nothing.
func tryWriteFD(fd uintptr, p []byte) (int, error) {
	for {
		n, err := unix.Write(int(fd), p)
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, unix.EAGAIN):
			return 0, nil
		case !errors.Is(err, unix.EINTR):
			return 0, err
		}
	}
}

func hungUp(fd uintptr) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd)}}
	for {
		if _, err := unix.Poll(fds[:], 0); !errors.Is(err, unix.EINTR) {
			return err == nil && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
		}
	}
}
