package proc

import (
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Sizes of what copying costs. A copy that is stalled holds one buffer, so most
// have small ones; the few that carry much get a large buffer and a large pipe.
const (
	smallBuffer = 16 << 10
	largeBuffer = 256 << 10
	largePipe   = 1 << 20 // also the most that pipe(7) gives an ordinary user

	// maxBulk is how many copies may have large ones at the same time: with
	// 16, 20 MiB of the guest's memory.
	maxBulk = 16
)

var (
	smallBuffers = sync.Pool{New: func() any { b := make([]byte, smallBuffer); return &b }}
	largeBuffers = sync.Pool{New: func() any { b := make([]byte, largeBuffer); return &b }}

	bulk atomic.Int32 // copies that have large ones
)

// A lane lends one copy its buffers, and makes it one of the few with large
// ones when it fills small ones. Only the copy's goroutine uses it.
type lane struct {
	raw  syscall.RawConn // of the pipe
	bulk bool
	held *[]byte // nil: none
}

func (l *lane) take() {
	if l.bulk {
		l.held = largeBuffers.Get().(*[]byte)
	} else {
		l.held = smallBuffers.Get().(*[]byte)
	}
}

func (l *lane) buffer() []byte { return *l.held }

func (l *lane) release() {
	switch {
	case l.held == nil:
	case len(*l.held) == largeBuffer:
		largeBuffers.Put(l.held)
	default:
		smallBuffers.Put(l.held)
	}
	l.held = nil
}

// adapt is told how much of a buffer was filled. Where the kernel refuses the
// larger pipe, the buffer is larger all the same.
func (l *lane) adapt(n int) {
	if l.bulk || n < smallBuffer {
		return
	}
	if bulk.Add(1) > maxBulk {
		bulk.Add(-1)
		return
	}
	l.bulk = true
	_ = l.raw.Control(func(fd uintptr) {
		_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, largePipe)
	})
}

func (l *lane) close() {
	l.release()
	if l.bulk {
		l.bulk = false
		bulk.Add(-1)
	}
}
