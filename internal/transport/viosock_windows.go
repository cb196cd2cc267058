package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/mdlayher/vsock"
	"golang.org/x/sys/windows"
)

var errNoVsock = permanent(errors.New("vsock:// needs Linux: use hvsock:// or unix:// on this system"))

func dialVsock(context.Context, uint32, uint32) (net.Conn, error) { return nil, errNoVsock }

// Names and numbers of virtio-win's driver.
const (
	viosockDevice = `\\.\Viosock`

	ioctlFamily = 0x0801300C // IOCTL_GET_AF: the number of the address family
)

// A vmAddress is the driver's sockaddr_vm.
type vmAddress struct {
	family   uint16
	reserved uint16
	port     uint32
	cid      uint32
}

var (
	ws2_32     = windows.NewLazySystemDLL("ws2_32.dll")
	wsaStartup = sync.OnceValue(func() error {
		var data windows.WSAData
		return windows.WSAStartup(0x0202, &data)
	})
	procSocket   = ws2_32.NewProc("socket")
	procBind     = ws2_32.NewProc("bind")
	procListen   = ws2_32.NewProc("listen")
	procAccept   = ws2_32.NewProc("accept")
	procShutdown = ws2_32.NewProc("shutdown")
)

// errorSocket is SOCKET_ERROR and INVALID_SOCKET.
const errorSocket = ^uintptr(0)

// maxBacklog is how many connections wait for accept. The driver takes no 0.
const maxBacklog = 128

// viosockFamily asks the driver for its address family.
func viosockFamily() (uint16, error) {
	device, err := windows.CreateFile(windows.StringToUTF16Ptr(viosockDevice), windows.GENERIC_READ,
		windows.FILE_SHARE_READ, nil, windows.OPEN_EXISTING, 0, 0)
	if err != nil {
		return 0, fmt.Errorf("%w: virtio-win's driver viosock is not installed, or the VM has no vsock device: %s: %w", ErrNoDevice, viosockDevice, err)
	}
	defer func() { _ = windows.CloseHandle(device) }()
	var family, n uint32
	err = windows.DeviceIoControl(device, ioctlFamily, nil, 0, (*byte)(unsafe.Pointer(&family)), uint32(unsafe.Sizeof(family)), &n, nil)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNoDevice, os.NewSyscallError("DeviceIoControl", err))
	}
	return uint16(family), nil
}

func listenVsock(port uint32, policy Policy) (net.Listener, error) {
	if err := wsaStartup(); err != nil {
		return nil, os.NewSyscallError("WSAStartup", err)
	}
	family, err := viosockFamily()
	if err != nil {
		return nil, err
	}
	s, _, err := procSocket.Call(uintptr(family), windows.SOCK_STREAM, 0)
	if s == errorSocket {
		return nil, fmt.Errorf("%w: virtio-win's Winsock provider is not registered (service VirtioSocketWSP): %w", ErrNoDevice, os.NewSyscallError("socket", err))
	}
	ln := &viosockListener{socket: windows.Handle(s), addr: &vsock.Addr{ContextID: CIDAny, Port: port}, policy: policy}
	if err := ln.bind(vmAddress{family: family, port: port, cid: CIDAny}); err != nil {
		_ = windows.Closesocket(ln.socket)
		return nil, err
	}
	return ln, nil
}

// A viosockListener accepts by a call that blocks, on a thread of its own: in the driver of today
// a socket that does not block leaks, and select(2) may end Windows.
type viosockListener struct {
	socket windows.Handle
	addr   *vsock.Addr
	policy Policy

	closing sync.Once
	closed  chan struct{} // closed by Close; made by bind
}

func (l *viosockListener) bind(a vmAddress) error {
	l.closed = make(chan struct{})
	if n, _, err := procBind.Call(uintptr(l.socket), uintptr(unsafe.Pointer(&a)), unsafe.Sizeof(a)); n != 0 {
		if errors.Is(err, windows.WSAEADDRINUSE) {
			return ErrInUse
		}
		return os.NewSyscallError("bind", err)
	}
	if n, _, err := procListen.Call(uintptr(l.socket), maxBacklog); n != 0 {
		return os.NewSyscallError("listen", err)
	}
	return nil
}

// Accept returns the next connection of a peer that may connect. One goroutine calls it.
func (l *viosockListener) Accept() (net.Conn, error) {
	for {
		var peer vmAddress
		size := int32(unsafe.Sizeof(peer))
		s, _, err := procAccept.Call(uintptr(l.socket), uintptr(unsafe.Pointer(&peer)), uintptr(unsafe.Pointer(&size)))
		select {
		case <-l.closed:
			if s != errorSocket {
				_ = windows.Closesocket(windows.Handle(s))
			}
			return nil, l.opError("accept", net.ErrClosed)
		default:
		}
		if s == errorSocket {
			err = os.NewSyscallError("accept", err)
			if isAnyOf(err, windows.WSAENOBUFS, windows.WSAEMFILE, windows.WSAECONNABORTED, windows.WSAECONNRESET) {
				err = passingError{err}
			}
			return nil, l.opError("accept", err)
		}
		remote := &vsock.Addr{ContextID: peer.cid, Port: peer.port}
		if !l.policy.admitVsock(remote) {
			_ = windows.Closesocket(windows.Handle(s))
			continue
		}
		conn, err := newViosockConn(windows.Handle(s), l.addr, remote)
		if err != nil {
			_ = windows.Closesocket(windows.Handle(s))
			return nil, l.opError("accept", err)
		}
		return conn, nil
	}
}

// A passingError is one of accept after which the next connection may be accepted.
type passingError struct{ error }

// Temporary is what package net's errors have.
func (passingError) Temporary() bool { return true }

func (e passingError) Unwrap() error { return e.error }

func isAnyOf(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(t error) bool { return errors.Is(err, t) })
}

func (l *viosockListener) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: schemeVsock, Addr: l.addr, Err: err}
}

// Close closes the listener, and ends an Accept.
func (l *viosockListener) Close() error {
	err := net.ErrClosed
	l.closing.Do(func() {
		close(l.closed)
		err = os.NewSyscallError("closesocket", windows.Closesocket(l.socket))
	})
	return err
}

// Addr is a *vsock.Addr.
func (l *viosockListener) Addr() net.Addr { return l.addr }

// A viosockConn is an accepted connection.
type viosockConn struct {
	socket        windows.Handle
	file          *overlapped // a duplicate of socket
	out           *creditWriter
	local, remote *vsock.Addr
	closing       sync.Once
}

func newViosockConn(socket windows.Handle, local, remote *vsock.Addr) (*viosockConn, error) {
	self := windows.CurrentProcess()
	var h windows.Handle
	if err := windows.DuplicateHandle(self, socket, self, &h, 0, false, windows.DUPLICATE_SAME_ACCESS); err != nil {
		return nil, os.NewSyscallError("DuplicateHandle", err)
	}
	file, err := newOverlapped(h)
	if err != nil {
		return nil, err
	}
	return &viosockConn{socket: socket, file: file, out: newCreditWriter(creditFile{file}), local: local, remote: remote}, nil
}

// A creditFile tells by errNoCredit what the driver has for it.
type creditFile struct{ *overlapped }

func (f creditFile) Write(p []byte) (int, error) {
	n, err := f.overlapped.Write(p)
	if isNoCredit(err) {
		err = errNoCredit
	}
	return n, err
}

// isNoCredit: the driver fails with STATUS_BUFFER_TOO_SMALL, which WriteFile translates.
func isNoCredit(err error) bool {
	return errors.Is(err, windows.ERROR_INSUFFICIENT_BUFFER) || errors.Is(err, windows.STATUS_BUFFER_TOO_SMALL)
}

func (c *viosockConn) Read(p []byte) (int, error) { return c.file.Read(p) }

func (c *viosockConn) Write(p []byte) (int, error) { return c.out.Write(p) }

// Close ends what is under way.
func (c *viosockConn) Close() error {
	err := net.ErrClosed
	c.closing.Do(func() {
		c.out.close()
		// First: viosock's shutdown waits on the handle itself, which a read that is under way
		// would signal.
		err = c.file.Close()
		const both = 2
		_, _, _ = procShutdown.Call(uintptr(c.socket), both)
		err = errors.Join(err, os.NewSyscallError("closesocket", windows.Closesocket(c.socket)))
	})
	return err
}

// LocalAddr is a *vsock.Addr.
func (c *viosockConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is a *vsock.Addr.
func (c *viosockConn) RemoteAddr() net.Addr { return c.remote }

func (c *viosockConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *viosockConn) SetReadDeadline(t time.Time) error { return c.file.SetReadDeadline(t) }

func (c *viosockConn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(t)
	return nil
}
