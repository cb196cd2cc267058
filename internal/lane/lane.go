// Package lane reads pipes and sockets without a buffer for each that is silent:
// buffers come from a pool, once there is something to read.
package lane

import (
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
)

// Sizes of what copying costs. A copy that is stalled holds one buffer, so most
// have small ones; the few that carry much get a large buffer and a large pipe.
const (
	smallBuffer = 16 << 10
	largeBuffer = 4 * (64<<10 - 12) // four of internal/mux's frames that fill a packet of vsock
	largePipe   = 1 << 20           // also the most that pipe(7) gives an ordinary user

	// maxBulk is how many copies may have large ones at the same time: with
	// 16, 20 MiB of the guest's memory.
	maxBulk = 16
)

var (
	smallBuffers = sync.Pool{New: func() any { b := make([]byte, smallBuffer); return &b }}
	largeBuffers = sync.Pool{New: func() any { b := make([]byte, largeBuffer); return &b }}

	bulk atomic.Int32 // copies that have large ones
)

// A PollReader lends one copy its buffers, and makes it one of the few with large
// ones when it fills small ones. Only the copy's goroutine uses it, which closes it.
type PollReader struct {
	Raw syscall.RawConn // of a socket, or what Pipe returns; its descriptor does not block

	bulk bool
	held *[]byte // nil: none

	// Results of the last read(2).
	n   int
	err error
}

// Pipe returns the Raw of a PollReader for f, a pipe that does not block.
func Pipe(f *os.File) (syscall.RawConn, error) { return pipe(f) }

// Waiting returns how many bytes a pipe or a terminal holds, as far as the system tells.
func Waiting(raw syscall.RawConn) (n int) {
	_ = raw.Control(func(fd uintptr) { n, _ = waiting(fd) })
	return n
}

// TryWrite writes as much of p to a socket as can be written without waiting, and returns how
// much that was. On Windows it writes nothing. The error is write(2)'s.
func TryWrite(raw syscall.RawConn, p []byte) (n int, err error) {
	if e := raw.Control(func(fd uintptr) { n, err = tryWriteFD(fd, p) }); e != nil {
		err = e
	}
	return n, err
}

// Bulk is how many copies have large buffers at the moment.
func Bulk() int { return int(bulk.Load()) }

// HungUp says whether a socket has ended in both directions.
func HungUp(raw syscall.RawConn) (ended bool) {
	err := raw.Control(func(fd uintptr) { ended = hungUp(fd) })
	return err == nil && ended
}

// Next waits until there is something to read, and returns it, until Release. The
// error is io.EOF, read(2)'s, or that of the descriptor's poller, such as
// os.ErrDeadlineExceeded; no buffer is then held.
func (r *PollReader) Next() ([]byte, error) { return r.taken(r.Raw.Read(r.read)) }

// TryNext is Next for what is there already, whatever the poller's deadline. If
// there is nothing, and no end, the error is os.ErrDeadlineExceeded.
func (r *PollReader) TryNext() ([]byte, error) {
	there := false
	err := r.Raw.Control(func(fd uintptr) { there = r.read(fd) })
	if err == nil && !there {
		err = os.ErrDeadlineExceeded
	}
	return r.taken(err)
}

// taken is what has been read, unless err has kept it from being read.
func (r *PollReader) taken(err error) ([]byte, error) {
	switch {
	case err != nil: // nothing was read
	case r.err != nil:
		err = r.err
	case r.n == 0:
		err = io.EOF
	default:
		b := (*r.held)[:r.n]
		r.Adapt(r.n)
		return b, nil
	}
	r.Release()
	return nil, err
}

// read is called when there may be something to read, and takes a buffer only then.
func (r *PollReader) read(fd uintptr) bool {
	r.take()
	var ready bool
	if r.n, ready, r.err = readFD(r.Raw, fd, *r.held); !ready {
		r.Release()
	}
	return ready
}

func (r *PollReader) take() {
	if r.bulk {
		r.held = largeBuffers.Get().(*[]byte)
	} else {
		r.held = smallBuffers.Get().(*[]byte)
	}
}

// Release gives back what Next has returned.
func (r *PollReader) Release() {
	switch {
	case r.held == nil:
	case len(*r.held) == largeBuffer:
		largeBuffers.Put(r.held)
	default:
		smallBuffers.Put(r.held)
	}
	r.held = nil
}

// Adapt is told how much was moved at once. The buffer becomes larger even if the
// kernel refuses the larger pipe, or the descriptor is a socket.
func (r *PollReader) Adapt(n int) {
	if r.bulk || n < smallBuffer {
		return
	}
	if bulk.Add(1) > maxBulk {
		bulk.Add(-1)
		return
	}
	r.bulk = true
	_ = r.Raw.Control(enlarge)
}

// Close lets go of everything but the descriptor.
func (r *PollReader) Close() {
	r.Release()
	if r.bulk {
		r.bulk = false
		bulk.Add(-1)
	}
}
