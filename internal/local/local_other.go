//go:build !linux && !windows

package local

import (
	"context"
	"errors"
	"net"
	"syscall"
)

func classOf(error) error { return nil }

// isReset says whether the peer has reset the connection.
func isReset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }

func connectAs(context.Context, endpoint, User) (net.Conn, error) { return nil, ErrUnsupported }

// resetOnClose has a socket's close reset its connection.
func resetOnClose(fd uintptr) error {
	return syscall.SetsockoptLinger(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
}
