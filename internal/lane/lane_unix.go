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

func hungUp(fd uintptr) bool {
	fds := [1]unix.PollFd{{Fd: int32(fd)}}
	for {
		if _, err := unix.Poll(fds[:], 0); !errors.Is(err, unix.EINTR) {
			return err == nil && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
		}
	}
}
