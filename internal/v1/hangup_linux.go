package v1

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// hungUp says whether the peer has closed nc, or its direction of it, behind
// whatever is still to be read.
func hungUp(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	var fds [1]unix.PollFd
	err = raw.Control(func(fd uintptr) {
		fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLRDHUP}
		_, _ = unix.Poll(fds[:], 0) // an error leaves Revents 0: to be asked again
	})
	return err != nil || fds[0].Revents != 0
}
