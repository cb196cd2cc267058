package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/windows"
)

// classOf returns which of this package's errors an error of the system's is a case
// of, or nil.
func classOf(err error) error {
	for _, k := range []struct {
		class  error
		errnos []syscall.Errno
	}{
		{ErrNotFound, []syscall.Errno{
			windows.WSAECONNREFUSED, windows.WSAECONNRESET, windows.WSAENETUNREACH, windows.WSAEHOSTUNREACH,
			windows.ERROR_FILE_NOT_FOUND, windows.ERROR_PATH_NOT_FOUND,
		}},
		{ErrNotPermitted, []syscall.Errno{windows.WSAEACCES, windows.ERROR_ACCESS_DENIED}},
		{ErrResources, []syscall.Errno{
			windows.WSAEMFILE, windows.WSAENOBUFS, windows.WSAETIMEDOUT, windows.WSAEADDRNOTAVAIL, windows.ERROR_NOT_ENOUGH_MEMORY,
		}},
		{ErrInvalid, []syscall.Errno{windows.WSAEINVAL, windows.WSAEPROTOTYPE}},
		{ErrUnsupported, []syscall.Errno{windows.WSAEAFNOSUPPORT}},
	} {
		for _, errno := range k.errnos {
			if errors.Is(err, errno) {
				return k.class
			}
		}
	}
	return nil
}

// isReset says whether the peer has reset the connection.
func isReset(err error) bool { return errors.Is(err, windows.WSAECONNRESET) }

func connectAs(context.Context, endpoint, User) (net.Conn, error) {
	return nil, fmt.Errorf("%w: connections as another user, in Windows guests", ErrUnsupported)
}

// resetOnClose has a socket's close reset its connection.
func resetOnClose(fd uintptr) error {
	return syscall.SetsockoptLinger(syscall.Handle(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
}
