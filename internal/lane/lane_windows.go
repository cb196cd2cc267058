package lane

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

var wsaPoll = windows.NewLazySystemDLL("ws2_32.dll").NewProc("WSAPoll")

// pollRead is POLLRDNORM: there is something to read, an end, or an error.
const pollRead = 0x0100

// A pollFD is WSAPOLLFD.
type pollFD struct {
	fd              uintptr
	events, revents int16
}

// poll returns what has happened to a socket, of what is asked for, and errors and ends.
func poll(fd uintptr, events int16) (int16, error) {
	p := pollFD{fd: fd, events: events}
	n, _, err := wsaPoll.Call(uintptr(unsafe.Pointer(&p)), 1, 0)
	if int32(n) < 0 {
		return 0, os.NewSyscallError("WSAPoll", err)
	}
	return p.revents, nil
}

// readFD is not ready if there is nothing to read yet.
func readFD(raw syscall.RawConn, fd uintptr, p []byte) (n int, ready bool, err error) {
	if _, ok := raw.(*pipeConn); ok {
		return readPipe(windows.Handle(fd), p)
	}
	return readSocket(fd, p)
}

// readSocket looks first: the sockets of package net would block, as their own reads overlap.
func readSocket(fd uintptr, p []byte) (n int, ready bool, err error) {
	if happened, err := poll(fd, pollRead); happened == 0 || err != nil {
		return 0, err != nil, err
	}
	var got, flags uint32
	buf := windows.WSABuf{Len: uint32(len(p)), Buf: unsafe.SliceData(p)}
	err = windows.WSARecv(windows.Handle(fd), &buf, 1, &got, &flags, nil, nil)
	return int(got), true, os.NewSyscallError("WSARecv", err)
}

func enlarge(uintptr) {} // a socket's buffers are the system's matter

func hungUp(fd uintptr) bool {
	const ends = 0x0001 | 0x0002 // POLLERR, POLLHUP
	happened, err := poll(fd, pollRead)
	return err == nil && happened&ends != 0
}

// tryWriteFD writes nothing: an overlapped socket cannot be tried.
func tryWriteFD(uintptr, []byte) (int, error) { return 0, nil }
