package transport

import (
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// An overlapped reads and writes a handle by overlapped I/O, and does not ask what it is. Package
// os asks, takes a socket of virtio-win's viosock for a file on a disk, and lets a Read hold up
// each Write. An overlapped is safe for one reader, one writer, and any number of others.
type overlapped struct {
	handle windows.Handle

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // operations, counted under mu while not closed
	read    *operation     // under way, or nil
	timer   *time.Timer    // of the read deadline; nil: none
	late    bool           // the read deadline has passed
	set     int            // how often the read deadline was set
}

// An operation is one ReadFile or WriteFile. The system writes to it until it is complete.
type operation struct {
	windows.Overlapped // the first field: a completion names its address

	n    uint32
	done chan struct{} // closed when it is complete
	why  error         // it was cancelled; guarded by mu
}

// port is the completion port of all handles, with the goroutine that takes from it.
var port = sync.OnceValues(func() (windows.Handle, error) {
	h, err := windows.CreateIoCompletionPort(windows.InvalidHandle, 0, 0, 1)
	if err != nil {
		return 0, os.NewSyscallError("CreateIoCompletionPort", err)
	}
	go complete(h) // ends with the program
	return h, nil
})

func complete(port windows.Handle) {
	for {
		var n uint32
		var key uintptr
		var o *windows.Overlapped
		err := windows.GetQueuedCompletionStatus(port, &n, &key, &o, windows.INFINITE)
		if o == nil {
			panic(os.NewSyscallError("GetQueuedCompletionStatus", err)) // the port is closed: never
		}
		close((*operation)(unsafe.Pointer(o)).done)
	}
}

// newOverlapped takes a handle that overlaps, which is then its own.
func newOverlapped(h windows.Handle) (*overlapped, error) {
	p, err := port()
	if err == nil {
		_, err = windows.CreateIoCompletionPort(h, p, 0, 0)
		err = os.NewSyscallError("CreateIoCompletionPort", err)
	}
	if err != nil {
		return nil, errors.Join(err, windows.CloseHandle(h))
	}
	// No FILE_SKIP_SET_EVENT_ON_HANDLE: the socket shares it, and viosock's shutdown waits on that.
	return &overlapped{handle: h}, nil
}

// Read reads what there is, once there is something. Nothing is the end.
func (f *overlapped) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := f.do(true, p, windows.ReadFile)
	switch {
	case errors.Is(err, windows.ERROR_HANDLE_EOF), errors.Is(err, windows.ERROR_BROKEN_PIPE):
		return n, io.EOF
	case err == nil && n == 0:
		return 0, io.EOF
	}
	return n, err
}

// Write writes some of p. It ends by Close only.
func (f *overlapped) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return f.do(false, p, windows.WriteFile)
}

// do begins an operation and waits until it is complete.
func (f *overlapped) do(reads bool, p []byte, begin func(windows.Handle, []byte, *uint32, *windows.Overlapped) error) (int, error) {
	op := &operation{done: make(chan struct{})}
	var pins runtime.Pinner
	pins.Pin(op)
	pins.Pin(unsafe.SliceData(p))
	defer pins.Unpin()
	if err := f.begin(reads, op); err != nil {
		return 0, err
	}
	defer f.running.Done()
	err := begin(f.handle, p[:min(len(p), 1<<30)], &op.n, &op.Overlapped)
	if err != nil && !errors.Is(err, windows.ERROR_IO_PENDING) { // nothing will complete
		_ = f.end(reads, op)
		return 0, err
	}
	f.cancelLate(reads, op) // it may have been too early to be cancelled
	<-op.done
	why := f.end(reads, op)
	err = windows.GetOverlappedResult(f.handle, &op.Overlapped, &op.n, false)
	if errors.Is(err, windows.ERROR_OPERATION_ABORTED) && why != nil {
		err = why
	}
	return int(op.n), err
}

// begin counts an operation, unless none may begin.
func (f *overlapped) begin(reads bool, op *operation) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return os.ErrClosed
	case reads && f.late:
		return os.ErrDeadlineExceeded
	}
	f.running.Add(1)
	if reads {
		f.read = op
	}
	return nil
}

// cancelLate cancels an operation if it was to be cancelled before it had begun.
func (f *overlapped) cancelLate(reads bool, op *operation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		op.why = os.ErrClosed
	case reads && f.late:
		op.why = os.ErrDeadlineExceeded
	default:
		return
	}
	_ = windows.CancelIoEx(f.handle, &op.Overlapped)
}

// end says why an operation was cancelled, if it was.
func (f *overlapped) end(reads bool, op *operation) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if reads {
		f.read = nil
	}
	if f.closed {
		return os.ErrClosed
	}
	return op.why
}

// SetReadDeadline bounds Read, also one that is under way.
func (f *overlapped) SetReadDeadline(t time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return os.ErrClosed
	}
	if f.timer != nil {
		f.timer.Stop()
		f.timer = nil
	}
	f.set++
	f.late = false
	if t.IsZero() {
		return nil
	}
	if d := time.Until(t); d > 0 {
		set := f.set
		f.timer = time.AfterFunc(d, func() { f.pass(set) })
		return nil
	}
	f.passLocked()
	return nil
}

// pass is called when a deadline has come, unless another one has been set.
func (f *overlapped) pass(set int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.set == set && !f.closed {
		f.passLocked()
	}
}

func (f *overlapped) passLocked() {
	f.late = true
	if f.read != nil {
		f.read.why = os.ErrDeadlineExceeded
		_ = windows.CancelIoEx(f.handle, &f.read.Overlapped)
	}
}

// Close cancels what is under way, waits for it, and closes the handle.
func (f *overlapped) Close() error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return os.ErrClosed
	}
	f.closed = true
	if f.timer != nil {
		f.timer.Stop()
	}
	f.mu.Unlock()
	_ = windows.CancelIoEx(f.handle, nil) // fails if nothing is under way
	f.running.Wait()
	return os.NewSyscallError("CloseHandle", windows.CloseHandle(f.handle))
}
