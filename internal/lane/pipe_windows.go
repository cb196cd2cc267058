package lane

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// A pipeConn waits until a pipe with overlapped I/O can be read: the RawConn of an os.File
// waits for sockets only.
type pipeConn struct {
	syscall.RawConn
	file *os.File
}

func pipe(f *os.File) (syscall.RawConn, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &pipeConn{RawConn: raw, file: f}, nil
}

// Read calls f until that is done. Before each further call it waits, by reading 0 bytes, until
// there is something to read, or an end.
func (p *pipeConn) Read(f func(fd uintptr) bool) error {
	for {
		done := false
		if err := p.Control(func(fd uintptr) { done = f(fd) }); done || err != nil {
			return err
		}
		if _, err := p.file.Read(nil); err != nil {
			return err
		}
	}
}

// readPipe reads what is there. It waits for nothing, whatever the deadline of the file is.
func readPipe(h windows.Handle, p []byte) (n int, ready bool, err error) {
	there, err := waiting(uintptr(h))
	switch {
	case errors.Is(err, windows.ERROR_BROKEN_PIPE):
		return 0, true, nil
	case err != nil:
		return 0, true, err
	case there == 0:
		return 0, false, nil
	}
	event, err := windows.CreateEvent(nil, 1, 0, nil)
	if err != nil {
		return 0, true, os.NewSyscallError("CreateEvent", err)
	}
	defer func() { _ = windows.CloseHandle(event) }()
	// The low bit keeps the completion from the port of Go's poller. The system may write to op
	// until the read is complete.
	op := &struct {
		windows.Overlapped
		got uint32
	}{Overlapped: windows.Overlapped{HEvent: event | 1}}
	var pins runtime.Pinner
	pins.Pin(op)
	pins.Pin(unsafe.SliceData(p))
	defer pins.Unpin()
	err = windows.ReadFile(h, p[:min(len(p), there)], &op.got, &op.Overlapped)
	if errors.Is(err, windows.ERROR_IO_PENDING) { // somebody else has read it
		err = windows.GetOverlappedResult(h, &op.Overlapped, &op.got, true)
	}
	return int(op.got), true, os.NewSyscallError("ReadFile", err)
}

var peekNamedPipe = windows.NewLazySystemDLL("kernel32.dll").NewProc("PeekNamedPipe")

func waiting(fd uintptr) (int, error) {
	var n uint32
	ok, _, err := peekNamedPipe.Call(fd, 0, 0, 0, uintptr(unsafe.Pointer(&n)), 0)
	if ok == 0 {
		return 0, os.NewSyscallError("PeekNamedPipe", err)
	}
	return int(n), nil
}
