package transport

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// errNoCredit says that the peer takes nothing more for now: ask again.
var errNoCredit = errors.New("the peer takes nothing more for now")

// How long a write waits before it asks again.
const (
	creditSoon = time.Millisecond
	creditLate = 20 * time.Millisecond
)

// A creditWriter writes to a socket that does not say when it takes more: a write of
// virtio-win's viosock takes a part, or fails while the peer gives no credit. It has a
// deadline, and its own end.
type creditWriter struct {
	to io.Writer // its error wraps errNoCredit if nothing was taken for now

	closed chan struct{} // closed by close
	once   sync.Once

	mu       sync.Mutex
	deadline time.Time
	moved    chan struct{} // closed when the deadline has changed
}

func newCreditWriter(to io.Writer) *creditWriter {
	return &creditWriter{to: to, closed: make(chan struct{}), moved: make(chan struct{})}
}

// Write writes all of p, or returns how much of it and why no more.
func (w *creditWriter) Write(p []byte) (n int, err error) {
	wait := creditSoon
	for {
		if err := w.late(); err != nil {
			return n, err
		}
		wrote, err := w.to.Write(p[n:])
		n += wrote
		switch {
		case err != nil && !errors.Is(err, errNoCredit):
			return n, err
		case n == len(p):
			return n, nil
		case wrote > 0:
			wait = creditSoon
			continue
		}
		if err := w.pause(wait); err != nil {
			return n, err
		}
		wait = min(2*wait, creditLate)
	}
}

// late returns why a write may not begin, or nil.
func (w *creditWriter) late() error {
	select {
	case <-w.closed:
		return os.ErrClosed
	default:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.deadline.IsZero() && time.Until(w.deadline) <= 0 {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// pause waits for d, or less if the deadline comes, or the end.
func (w *creditWriter) pause(d time.Duration) error {
	w.mu.Lock()
	if !w.deadline.IsZero() {
		d = min(d, time.Until(w.deadline))
	}
	moved := w.moved
	w.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-moved:
	case <-w.closed:
	}
	return w.late()
}

func (w *creditWriter) setDeadline(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = t
	close(w.moved)
	w.moved = make(chan struct{})
}

func (w *creditWriter) close() { w.once.Do(func() { close(w.closed) }) }
