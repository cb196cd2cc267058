package v1

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// hungUp reports whether the peer has closed nc, or will read nothing more of it. A
// peer that has ended only its own direction has not hung up. A Unix socket then polls
// as POLLHUP. A vsock does not: there a write fails, also one of no bytes, which sends
// nothing (vsock_connectible_sendmsg in net/vmw_vsock/af_vsock.c).
func hungUp(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	var gone bool
	err = raw.Control(func(fd uintptr) {
		polled := [1]unix.PollFd{{Fd: int32(fd)}}
		_, _ = unix.Poll(polled[:], 0) // an error leaves Revents 0: to be asked again
		gone = polled[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0 || writeFails(int(fd))
	})
	return err != nil || gone
}

func writeFails(fd int) bool {
	err := unix.Send(fd, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	return errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNRESET)
}
