package mux

import "io"

// A TryWriter is a Writer that [Stream.WriteTo] need not be awake for: while WriteTo
// waits for more, the receiving goroutine hands over what comes.
type TryWriter interface {
	io.Writer

	// TryWrite writes as much of p as it can without blocking. It returns how much
	// that was; if it was less than p, and err is nil, Write gets the rest.
	// TryWrite holds up the whole session, and must not call the session's or its
	// streams' methods. It is never called at the same time as Write, nor after
	// WriteTo has returned.
	TryWrite(p []byte) (n int, err error)
}

// A handover is a WriteTo whose Writer the receiving goroutine may write to. It goes
// through: absent → waiting ⇄ busy, and from waiting to absent. WriteTo makes it
// waiting, and absent again; the receiving goroutine makes it busy. It is guarded by
// the stream's mu, but while it is absent it is WriteTo's alone.
type handover struct {
	to      TryWriter
	busy    bool  // the receiving goroutine writes
	awaited bool  // WriteTo waits for that
	written int64 // bytes that have been handed over
	err     error // of the Writer; nothing more is handed over
}

// mustWait says whether the receiving goroutine writes. It then wakes WriteTo when it has
// written.
func (h *handover) mustWait() bool {
	if h == nil || !h.busy {
		return false
	}
	h.awaited = true
	return true
}

// failure returns the Writer's error.
func (h *handover) failure() error {
	if h == nil {
		return nil
	}
	return h.err
}

// total returns how many bytes have been handed over, once the handover is absent.
func (h *handover) total() int64 {
	if h == nil {
		return 0
	}
	return h.written
}

// offer hands p to a WriteTo that waits for more. It returns what is left of p, which
// comes next. It is called by the receiving goroutine.
func (s *Stream) offer(p []byte) (rest []byte) {
	h := s.startHandover()
	if h == nil {
		return p
	}
	n, err := h.to.TryWrite(p)
	s.mu.Lock()
	h.busy = false
	h.written += int64(n)
	h.err = err
	if h.awaited || err != nil {
		h.awaited = false
		s.readable.Broadcast()
	}
	delta := s.windowUpdateLocked(n)
	s.mu.Unlock()
	s.grant(delta)
	return p[n:]
}

// startHandover makes the WriteTo that waits busy, and returns it. It returns nil if none
// waits, or WriteTo has to look at something else first.
func (s *Stream) startHandover() *handover {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.waiting
	if h == nil || len(s.received) > 0 || s.discarded || h.err != nil || s.readBy.past() {
		return nil
	}
	h.busy = true
	return h
}
