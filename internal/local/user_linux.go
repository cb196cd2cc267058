package local

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// connectAs makes a connection as somebody else: a service sees that user
// (SO_PEERCRED of a Unix socket, the owner of a TCP socket), and that user's
// rights decide about the path of a socket.
func connectAs(ctx context.Context, e endpoint, user User) (net.Conn, error) {
	family, address, err := sockaddr(e)
	if err != nil {
		return nil, err
	}
	fd, err := socketAs(user, family, address)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), e.address)
	defer file.Close()
	if err := awaitConnected(ctx, file); err != nil {
		return nil, err
	}
	return settled(net.FileConn(file))
}

func sockaddr(e endpoint) (family int, address unix.Sockaddr, err error) {
	if e.network == "unix" {
		return unix.AF_UNIX, &unix.SockaddrUnix{Name: e.address}, nil
	}
	to, err := netip.ParseAddrPort(e.address)
	if err != nil {
		return 0, nil, err
	}
	if to.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}, nil
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}, nil
}

// socketAs makes a socket and begins to connect it, as user. The identity is a
// thread's while it does that: only the effective ids change, so that user may
// neither signal nor trace the thread, and it gets its own back from the saved
// ones.
func socketAs(user User, family int, address unix.Sockaddr) (fd int, err error) {
	runtime.LockOSThread()
	groups, err := unix.Getgroups()
	if err != nil {
		runtime.UnlockOSThread()
		return -1, os.NewSyscallError("getgroups", err)
	}
	own := User{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
	for _, g := range groups {
		own.Groups = append(own.Groups, uint32(g))
	}
	if err = become(user, setGroups, setGID, setUID); err == nil {
		fd, err = beginConnect(family, address)
	}
	if e := become(own, setUID, setGID, setGroups); e != nil {
		// The thread is of no more use: still locked, it ends with its goroutine.
		return -1, errors.Join(err, e)
	}
	runtime.UnlockOSThread()
	return fd, err
}

func beginConnect(family int, address unix.Sockaddr) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if family != unix.AF_UNIX {
		if err := resetOnClose(uintptr(fd)); err != nil { // as control does
			return -1, errors.Join(err, unix.Close(fd))
		}
	}
	if err := unix.Connect(fd, address); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return -1, errors.Join(os.NewSyscallError("connect", err), unix.Close(fd))
	}
	return fd, nil
}

// become changes the effective identity of this thread alone, which package
// syscall does for all threads. The order matters: whoever is not root may not
// change the rest.
func become(user User, steps ...func(User) syscall.Errno) error {
	for _, step := range steps {
		if errno := step(user); errno != 0 {
			return os.NewSyscallError("set the user of a thread", errno)
		}
	}
	return nil
}

const unchanged = ^uintptr(0)

func setUID(u User) syscall.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, unchanged, uintptr(u.UID), unchanged)
	return errno
}

func setGID(u User) syscall.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, unchanged, uintptr(u.GID), unchanged)
	return errno
}

func setGroups(u User) syscall.Errno {
	list := slices.Concat(u.Groups, []uint32{0}) // one more, so that there is a first
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(u.Groups)), uintptr(unsafe.Pointer(&list[0])), 0)
	return errno
}

// awaitConnected waits until a socket that is being connected is, or is not to be.
func awaitConnected(ctx context.Context, file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = file.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	var connected error
	err = raw.Write(func(fd uintptr) bool {
		connected = connectError(int(fd))
		return !errors.Is(connected, unix.EINPROGRESS)
	})
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(err, connected)
}

// connectError is nil if the socket is connected, and EINPROGRESS if that is
// not known yet.
func connectError(fd int) error {
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		return os.NewSyscallError("getsockopt", err)
	case errno != 0:
		return os.NewSyscallError("connect", syscall.Errno(errno))
	}
	peer, err := unix.Getpeername(fd)
	if errors.Is(err, unix.ENOTCONN) {
		return unix.EINPROGRESS
	}
	if own, e := unix.Getsockname(fd); e == nil && err == nil && connectedToItself(own, peer) {
		return os.NewSyscallError("connect", unix.ECONNREFUSED)
	}
	return nil
}

// connectedToItself says whether a TCP socket has got as its own port the one that
// it connects to, which nobody serves: then it is its own peer.
func connectedToItself(own, peer unix.Sockaddr) bool {
	switch own := own.(type) {
	case *unix.SockaddrInet4:
		peer, ok := peer.(*unix.SockaddrInet4)
		return ok && own.Port == peer.Port && own.Addr == peer.Addr
	case *unix.SockaddrInet6:
		peer, ok := peer.(*unix.SockaddrInet6)
		return ok && own.Port == peer.Port && own.Addr == peer.Addr
	default:
		return false
	}
}
