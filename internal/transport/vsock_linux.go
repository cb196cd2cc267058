package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/mdlayher/socket"
	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"
)

func dialVsock(ctx context.Context, cid, port uint32) (net.Conn, error) {
	return vsock.DialContext(ctx, cid, port, nil)
}

func listenVsock(port uint32, policy Policy) (net.Listener, error) {
	c, err := socket.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0, schemeVsock, nil)
	if err == nil {
		if err = c.Bind(&unix.SockaddrVM{CID: CIDAny, Port: port}); err == nil {
			err = c.Listen(unix.SOMAXCONN)
		}
		if err != nil {
			_ = c.Close()
		}
	}
	for _, errno := range []error{unix.EAFNOSUPPORT, unix.ENODEV, unix.EADDRNOTAVAIL} {
		if errors.Is(err, errno) {
			return nil, fmt.Errorf("%w: %w", ErrNoDevice, err)
		}
	}
	if err != nil {
		return nil, err
	}
	return newVsockListener(c, policy)
}

// inheritVsock returns the listener that a file is, which stays the caller's.
func inheritVsock(f *os.File, policy Policy) (*vsockListener, error) {
	c, err := socket.FileConn(f, schemeVsock)
	if err != nil {
		return nil, err
	}
	return newVsockListener(c, policy)
}

// A vsockListener refuses peers itself, with two system calls each. Every process of the
// guest may connect over vsock loopback as often as it likes, and the host's connections
// wait in the same queue.
type vsockListener struct {
	socket *socket.Conn
	addr   *vsock.Addr
	policy Policy
}

func newVsockListener(c *socket.Conn, policy Policy) (*vsockListener, error) {
	bound, err := c.Getsockname()
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	vm, ok := bound.(*unix.SockaddrVM)
	if !ok {
		return nil, errors.Join(fmt.Errorf("not a vsock address: %v", bound), c.Close())
	}
	return &vsockListener{c, &vsock.Addr{ContextID: vm.CID, Port: vm.Port}, policy}, nil
}

// Accept returns the next connection of a peer that may connect.
func (l *vsockListener) Accept() (net.Conn, error) {
	var fd int
	var remote vsock.Addr
	err := l.socket.ReadFunc(context.Background(), "accept", func(listening int) (err error) {
		for {
			var peer unix.Sockaddr
			if fd, peer, err = unix.Accept4(listening, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC); err != nil {
				return err
			}
			vm, ok := peer.(*unix.SockaddrVM)
			if !ok {
				_ = unix.Close(fd)
				continue
			}
			if remote = (vsock.Addr{ContextID: vm.CID, Port: vm.Port}); l.policy.admitVsock(&remote) {
				return nil
			}
			_ = unix.Close(fd)
		}
	})
	if err != nil {
		return nil, l.opError("accept", err)
	}
	c, err := socket.New(fd, schemeVsock)
	if err != nil {
		return nil, l.opError("accept", err)
	}
	return &vsockConn{Conn: c, local: l.addr, remote: &remote}, nil
}

func (l *vsockListener) opError(op string, err error) error {
	if errors.Is(err, os.ErrClosed) {
		err = net.ErrClosed
	}
	return &net.OpError{Op: op, Net: schemeVsock, Addr: l.addr, Err: err}
}

// Close closes the listener, and ends an Accept.
func (l *vsockListener) Close() error { return l.socket.Close() }

// SyscallConn returns the socket.
func (l *vsockListener) SyscallConn() (syscall.RawConn, error) { return l.socket.SyscallConn() }

// SetDeadline bounds how long an Accept waits.
func (l *vsockListener) SetDeadline(t time.Time) error { return l.socket.SetReadDeadline(t) }

// Addr is a *vsock.Addr.
func (l *vsockListener) Addr() net.Addr { return l.addr }

// A vsockConn is an accepted connection.
type vsockConn struct {
	*socket.Conn
	local, remote *vsock.Addr
}

// LocalAddr is a *vsock.Addr.
func (c *vsockConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is a *vsock.Addr.
func (c *vsockConn) RemoteAddr() net.Addr { return c.remote }
