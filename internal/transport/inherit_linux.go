package transport

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

func inherit(fd int, p Policy) (net.Listener, Address, error) {
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	family, err := listening(fd)
	if err != nil {
		return nil, Address{}, err
	}
	// Both make a copy of fd that no child inherits.
	if family == unix.AF_UNIX {
		ln, err := net.FileListener(f)
		if err != nil {
			return nil, Address{}, err
		}
		return ln, Address{Scheme: schemeUnix, Path: ln.Addr().String()}, nil
	}
	ln, err := inheritVsock(f, p)
	if err != nil {
		return nil, Address{}, err
	}
	return ln, Address{Scheme: schemeVsock, Port: ln.addr.Port}, nil
}

// listening returns the family of a socket that an agent can listen on.
func listening(fd int) (family int, err error) {
	family, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return 0, fmt.Errorf("not a listening socket: %w", err)
	}
	if family != unix.AF_UNIX && family != unix.AF_VSOCK {
		return 0, fmt.Errorf("socket of address family %d: want AF_VSOCK (%d) or AF_UNIX (%d)", family, unix.AF_VSOCK, unix.AF_UNIX)
	}
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_STREAM {
		return 0, errors.Join(errors.New("not a stream socket: use ListenStream= in the socket unit"), err)
	}
	// Linux answers this for sockets of every family since 2.5.
	if listens, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); err != nil || listens == 0 {
		return 0, errors.Join(errors.New("not a listening socket: use Accept=no in the socket unit"), err)
	}
	return family, nil
}
