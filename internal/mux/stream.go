package mux

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

// A Stream is one two-way byte stream of a session. It is safe for concurrent
// use: the bytes of each Write stay together, and each Read gets its own.
//
// Whoever opened or claimed a stream must see to both directions: Close its
// own, and read the other until an error, or Discard it. A stream that has not
// ended in both directions takes memory until the session ends.
type Stream struct {
	yamux   *yamux.Stream
	session *Session

	// writing keeps the frames of one Write together. It is held while the
	// peer's window is full: so nothing but Write takes it.
	writing sync.Mutex

	// reading has a place for one Read at a time, because in yamux two may
	// deadlock: Read takes a stream's state lock and then its receive lock, and
	// the window update that ends a Read takes them the other way round. It is
	// taken while there is nothing to read.
	reading chan struct{}

	discarded     chan struct{} // closed by Discard
	discardedOnce sync.Once

	account *account    // nil on the host's side
	owned   atomic.Bool // it is being read
	overran atomic.Bool // it has lost input

	mu        sync.Mutex
	onOverrun func()
}

func newStream(s *Session, y *yamux.Stream) *Stream {
	return &Stream{yamux: y, session: s, reading: make(chan struct{}, 1), discarded: make(chan struct{})}
}

// ID is the stream's id on the wire, by which a request names it.
func (s *Stream) ID() uint32 { return s.yamux.StreamID() }

// Read reads what the peer has written. It returns io.EOF when the peer has
// closed its direction, an error that wraps [ErrLost] when the connection has
// ended, and os.ErrDeadlineExceeded after the time of
// [Stream.SetReadDeadline], and os.ErrClosed after [Stream.Discard].
func (s *Stream) Read(p []byte) (int, error) {
	select {
	case s.reading <- struct{}{}:
	case <-s.discarded:
		return 0, os.ErrClosed
	}
	defer func() { <-s.reading }()
	if s.isDiscarded() {
		return 0, os.ErrClosed
	}
	s.owned.Store(true)
	n, err := s.yamux.Read(p)
	s.account.took(n)
	if err == nil || n > 0 {
		// The window update that follows a read may fail; the bytes count.
		return n, nil
	}
	switch {
	case errors.Is(err, yamux.ErrTimeout) && s.isDiscarded():
		return 0, os.ErrClosed
	case errors.Is(err, yamux.ErrTimeout):
		return 0, os.ErrDeadlineExceeded
	case errors.Is(err, io.EOF) && !s.session.yamux.IsClosed():
		return 0, io.EOF
	default:
		s.account.end(true)
		return 0, s.session.lost(err)
	}
}

// Await blocks until Read would not, and returns the error that Read would.
func (s *Stream) Await() error {
	// A yamux Read of no bytes waits for some all the same.
	_, err := s.Read(nil)
	return err
}

// Write writes p in frames of at most [MaxFrame] bytes. It returns when the
// last one has been handed to the connection, and blocks while the peer's
// window is full, until the session ends. After Close it returns os.ErrClosed.
func (s *Stream) Write(p []byte) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	total := 0
	for total < len(p) {
		n, err := s.yamux.Write(p[total:min(total+MaxFrame, len(p))])
		total += n
		switch {
		case errors.Is(err, yamux.ErrStreamClosed) && !s.session.yamux.IsClosed():
			return total, os.ErrClosed
		case err != nil:
			return total, s.session.lost(err)
		}
	}
	return total, nil
}

// Close ends this side's direction: the peer reads io.EOF after all that has
// been written. Reading goes on. Close is idempotent and must not be called
// before a Write has returned whose bytes count. It blocks only while the
// connection takes no bytes.
func (s *Stream) Close() error {
	defer s.account.end(false)
	return s.yamux.Close() // always nil in v0.1.2
}

// SetReadDeadline makes a Read that is blocked at t, and every later one that
// would block, fail with os.ErrDeadlineExceeded. The zero time means never.
func (s *Stream) SetReadDeadline(t time.Time) {
	_ = s.yamux.SetReadDeadline(t) // always nil in v0.1.2
}

// Discard closes this side's direction, and throws away what the peer writes
// until the peer closes its own or the session ends, so that the peer is never
// blocked. A Read that is blocked fails, and so does every later one. Discard
// returns at once and is idempotent.
func (s *Stream) Discard() {
	_ = s.Close()
	s.discardedOnce.Do(func() {
		close(s.discarded)
		s.SetReadDeadline(time.Unix(1, 0)) // ends a Read
		go s.drain()
	})
}

func (s *Stream) isDiscarded() bool {
	select {
	case <-s.discarded:
		return true
	default:
		return false
	}
}

// drain is stopped by the peer's end of the stream, or by the session's.
func (s *Stream) drain() {
	s.reading <- struct{}{} // for good
	s.SetReadDeadline(time.Time{})
	s.empty()
}

// purge throws away what a stream holds whose session has ended.
func (s *Stream) purge() {
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
		s.empty()
	case <-s.discarded: // drain does it
	}
}

func (s *Stream) empty() {
	_, _ = io.Copy(io.Discard, taking{s})
	s.account.end(true)
	s.yamux.Shrink()
}

// taking is a stream whose reads are counted.
type taking struct{ *Stream }

func (t taking) Read(p []byte) (int, error) {
	n, err := t.yamux.Read(p)
	t.account.took(n)
	return n, err
}

// OnOverrun has f called, once, when the stream loses what it holds because the
// agent's memory for input is used up and nobody reads the stream. It has then
// been discarded. Where that has happened already f is called at once. f may be
// called from any goroutine.
func (s *Stream) OnOverrun(f func()) {
	s.mu.Lock()
	s.onOverrun = f
	overran := s.overran.Load()
	s.mu.Unlock()
	if overran {
		f()
	}
}

// overrun discards the stream for want of memory.
func (s *Stream) overrun() {
	s.mu.Lock()
	s.overran.Store(true)
	f := s.onOverrun
	s.mu.Unlock()
	if f != nil {
		f()
	}
	s.Discard()
}
