package mux

import (
	"errors"
	"io"
	"os"
	"sync"
)

// A Stream is one two-way byte stream of a session. It is safe for concurrent
// use: the bytes of each Write stay together, and each Read gets its own.
//
// The owner of a stream, who opened or claimed it, must see to both directions: Close
// its own, and read the other until an error, or Discard it. A stream that has not
// ended in both directions takes memory until the session ends.
//
// Each direction goes through: open → ended (FIN), or → reset, with both, or → lost,
// with the session. Received bytes are read first.
type Stream struct {
	session *Session
	id      uint32
	urgent  bool // its frames come before those of other streams

	direct io.Writer // gets what comes at once, and nothing is received; nil: as usual

	// writing keeps the frames of one Write together. It is held while the
	// peer's window is full: so nothing but Write takes it.
	writing sync.Mutex

	// Broadcast when a field below changes that a reader, or a writer, may wait
	// for. One for both would wake a reader whenever a frame has been written.
	readable, writable sync.Cond

	mu sync.Mutex

	received   []chunk   // not yet read
	readers    int       // who wait for more
	waiting    *handover // of a WriteTo that waits for more; nil: none can be handed any
	recvWindow int       // how many bytes the peer may still send
	consumed   int       // of what has been read, not yet given back to the window
	growth     *growth   // nil: not even a part of the window has been given back
	finished   bool      // the peer has ended its direction
	discarded  bool
	readBy     deadline

	sendWindow int64 // how many bytes the peer takes
	writeBy    deadline
	outgoing

	closed bool // this side's direction has ended
	reset  bool // by the peer, or by this side
	lost   bool // the session has ended

	refused   bool // it is one too many, and has been discarded; never changes
	overran   bool // it has lost what it held, and has been discarded
	onOverrun func()
	onReset   func()
}

func newStream(s *Session, id uint32) *Stream {
	st := &Stream{id: id, session: s, recvWindow: s.window, sendWindow: initialWindow}
	st.readable.L, st.writable.L = &st.mu, &st.mu
	return st
}

// ID is the stream's id on the wire: requests name the stream with it.
func (s *Stream) ID() uint32 { return s.id }

// Read reads bytes that the peer has written. It returns io.EOF when the peer has
// closed its direction, and an error that wraps [ErrLost] when the connection has ended
// or the peer has reset the stream. It returns os.ErrDeadlineExceeded after the time of
// [Stream.SetReadDeadline], and os.ErrClosed after [Stream.Discard].
func (s *Stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	if err := s.awaitLocked(nil); err != nil || len(p) == 0 {
		s.mu.Unlock()
		return 0, s.readError(err)
	}
	n := 0
	for n < len(p) && len(s.received) > 0 {
		c := &s.received[0]
		m := copy(p[n:], c.bytes())
		c.first += m
		if n += m; c.first == c.next {
			s.free(c)
			s.shiftLocked()
		}
	}
	delta := s.windowUpdateLocked(n)
	s.mu.Unlock()
	s.grant(delta)
	return n, nil
}

// WriteTo writes to w what the peer has written, until it has closed its
// direction, and then returns nil. Other errors are Read's, or w's. Nothing is
// copied in between: w gets what was received. No buffer is held while there is
// nothing to write. While WriteTo waits, a [TryWriter] is written to by the receiving
// goroutine; of several WriteTo of a stream only the first's.
func (s *Stream) WriteTo(w io.Writer) (written int64, err error) {
	var h *handover
	if to, ok := w.(TryWriter); ok {
		h = &handover{to: to}
	}
	for {
		c, err := s.next(h)
		switch {
		case err == io.EOF && h.failure() == nil: //nolint:errorlint // ErrLost wraps it, where the peer has closed the connection
			return written + h.total(), nil
		case err == nil:
			var n int
			n, err = s.give(c, w)
			written += int64(n)
		}
		if err != nil {
			return written + h.total(), err
		}
	}
}

// give writes a chunk to w, and lets go of it.
func (s *Stream) give(c chunk, w io.Writer) (int, error) {
	size := len(c.bytes())
	n, err := w.Write(c.bytes())
	s.free(&c)
	if err == nil && n < size {
		err = io.ErrShortWrite
	}
	if err != nil {
		return n, err
	}
	s.mu.Lock()
	delta := s.windowUpdateLocked(size)
	s.mu.Unlock()
	s.grant(delta)
	return n, nil
}

// next takes the first chunk out of the stream. While it waits, the receiving goroutine
// may hand over to h.
func (s *Stream) next(h *handover) (c chunk, err error) {
	s.mu.Lock()
	if s.waiting == nil {
		s.waiting = h
	}
	err = s.awaitLocked(h)
	if s.waiting == h {
		s.waiting = nil
	}
	if err == nil {
		c = s.received[0]
		s.shiftLocked()
	}
	s.mu.Unlock()
	return c, s.readError(err)
}

// shiftLocked forgets the first chunk. It is called with mu held.
func (s *Stream) shiftLocked() {
	s.received[0] = chunk{}
	if s.received = s.received[1:]; len(s.received) == 0 {
		s.received = nil
		s.settleLocked()
	}
}

var errLostStream = errors.New("session ended")

// awaitLocked waits for something to read, or an error, and until h, which may be nil, is not
// busy. It is called with mu held.
func (s *Stream) awaitLocked(h *handover) error {
	for {
		switch {
		case h.mustWait():
		case h.failure() != nil:
			return h.failure()
		case s.discarded:
			return os.ErrClosed
		case len(s.received) > 0:
			return nil
		case s.finished:
			return io.EOF
		case s.reset:
			return ErrReset
		case s.lost:
			return errLostStream
		case s.readBy.past():
			return os.ErrDeadlineExceeded
		}
		s.readers++
		s.readable.Wait()
		s.readers--
	}
}

// isIdle says whether all that has come has been read, and somebody waits for more.
func (s *Stream) isIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.readers > 0 && len(s.received) == 0
}

// readError is called without waiting for anything but the session's end.
func (s *Stream) readError(err error) error {
	if errors.Is(err, errLostStream) {
		return s.session.lost()
	}
	return err
}

// windowUpdateLocked returns by how much the peer's window is to grow, now that n bytes of
// it have been read. It is called with mu held.
func (s *Stream) windowUpdateLocked(n int) (delta int) {
	s.consumed += n
	if s.consumed < s.sizeLocked()/2-early || s.finished || s.reset || s.lost {
		return 0
	}
	delta, s.consumed = s.consumed+s.widenLocked(s.consumed), 0
	s.recvWindow += delta
	return delta
}

func (s *Stream) grant(delta int) {
	if delta > 0 {
		s.session.out.put(header{kind: kindWindow, stream: s.id, length: uint32(delta)})
	}
}

// Write writes p in frames of at most [MaxFrame] bytes. It returns when the last one
// has been handed to the connection, and blocks while the peer's window is full, until
// the session ends, or the time of [Stream.SetWriteDeadline] has come. After Close it
// returns os.ErrClosed. If it fails, it returns how many bytes the stream has taken,
// which are on their way.
func (s *Stream) Write(p []byte) (int, error) { return s.write(p, false) }

// WriteSoon is Write for bytes that are of little use to the peer before the next
// write, on any stream. They wait for that write, for at most 5 milliseconds
// (patientTime), and a write to the connection is saved.
func (s *Stream) WriteSoon(p []byte) (int, error) { return s.write(p, true) }

func (s *Stream) write(p []byte, soon bool) (int, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	for total := 0; ; {
		n, err := s.spend(s.session.out.frame(len(p) - total))
		if err == nil && n > 0 {
			err = s.send(p[total:total+n], soon)
		}
		switch {
		case errors.Is(err, errWriterStopped), errors.Is(err, errLostStream):
			return total, s.session.lost()
		case err != nil:
			return total, err
		}
		if total += n; total == len(p) {
			return total, nil
		}
	}
}

func (s *Stream) emit(body []byte, soon bool) error {
	h := header{kind: kindData, stream: s.id, length: uint32(len(body))}
	if soon && s.session.out.putBody(h, body, true) {
		return nil
	}
	return s.session.out.write(h, body, s.urgent)
}

// spend takes at most n bytes of the peer's window, and waits for as many as are
// worth a frame.
func (s *Stream) spend(n int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closed:
			return 0, os.ErrClosed
		case s.lost:
			return 0, errLostStream
		case s.reset:
			return 0, ErrReset
		case s.writeBy.past():
			return 0, os.ErrDeadlineExceeded
		case s.sending: // what a Write before has left behind
		case s.sendWindow >= int64(min(n, worthwhile)):
			n = int(min(int64(n), s.sendWindow))
			s.sendWindow -= int64(n)
			s.sending = n > 0
			return n, nil
		}
		s.writable.Wait()
	}
}

// Close ends this side's direction: the peer reads io.EOF after all that has
// been written, and the part of a Write under way that has been taken. Reading
// goes on. Close is idempotent and never blocks.
func (s *Stream) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	over := s.finished
	s.unended = s.sending
	told := !s.reset && !s.lost && !s.sending
	s.writable.Broadcast()
	s.mu.Unlock()
	if told {
		s.putEnd()
	}
	if over {
		s.session.forget(s.id)
	}
	return nil
}

// Reset ends both directions at once: the peer reads the bytes written so far, and then
// [ErrReset], which it cannot take for an end. The peer's bytes are thrown away, also
// those that it writes later. Reset never blocks and is idempotent.
func (s *Stream) Reset() {
	s.mu.Lock()
	over := s.reset || s.lost || s.closed && s.finished
	s.reset = s.reset || !over
	s.mu.Unlock()
	s.Discard()
	if !over {
		s.session.out.put(header{kind: kindWindow, flags: flagRST, stream: s.id})
		s.session.forget(s.id)
	}
}

// Discard closes this side's direction, and throws away what the peer writes
// until the peer closes its own or the session ends, so that the peer is never
// blocked. A Read that is blocked fails, and so does every later one. Discard
// never blocks and is idempotent.
func (s *Stream) Discard() {
	_ = s.Close()
	s.drop()
}

// drop throws away what the peer has written, and writes.
func (s *Stream) drop() {
	s.mu.Lock()
	delta := 0
	if !s.discarded {
		s.discarded = true
		for i := range s.received {
			delta += len(s.received[i].bytes())
			s.free(&s.received[i])
		}
		s.received = nil
		delta = s.windowUpdateLocked(delta)
		s.settleLocked()
		s.readable.Broadcast()
	}
	s.mu.Unlock()
	s.grant(delta)
}

// OnOverrun makes the session call f, once, when the stream loses what it holds because
// the agent's memory for input is used up and nobody reads the stream. Bytes that the
// peer writes are then thrown away, as after Discard; this side's direction is still
// the caller's to end. If that has happened already, OnOverrun calls f at once. f may
// be called from any goroutine, and must not block.
func (s *Stream) OnOverrun(f func()) {
	s.mu.Lock()
	s.onOverrun = f
	overran := s.overran
	s.mu.Unlock()
	if overran {
		f()
	}
}

// OnReset has f called, once, when the peer resets the stream, or at once if it has. f may
// be called from any goroutine, and must not block.
func (s *Stream) OnReset(f func()) {
	s.mu.Lock()
	s.onReset = f
	reset := s.reset
	s.mu.Unlock()
	if reset {
		f()
	}
}

// overrun discards the stream because memory is short.
func (s *Stream) overrun() {
	s.mu.Lock()
	s.overran = true
	f := s.onOverrun
	s.mu.Unlock()
	if f == nil {
		s.Discard()
		return
	}
	s.drop()
	f()
}

// unusable says why nobody gets a stream that is there.
func (s *Stream) unusable() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.refused:
		return ErrTooManyStreams
	case s.overran:
		return ErrInput
	default:
		return nil
	}
}
