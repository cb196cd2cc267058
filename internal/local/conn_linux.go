package local

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// hungUp says whether the socket has ended in both directions.
func hungUp(raw syscall.RawConn) bool {
	var fds [1]unix.PollFd
	err := raw.Control(func(fd uintptr) {
		fds[0].Fd = int32(fd)
		for {
			if _, err := unix.Poll(fds[:], 0); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	})
	return err == nil && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
}
