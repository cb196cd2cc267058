package mux

import "fmt"

// What a stream takes from the connection: the methods of this file are called by
// the session's receiving goroutine.

// receive takes the body of a data frame.
func (s *Stream) receive(in *inlet, n int) error {
	if n == 0 {
		return nil
	}
	s.mu.Lock()
	discarded := s.discarded
	s.window -= n
	broken := s.window < 0 || s.finished
	s.mu.Unlock()
	switch {
	case broken:
		return fmt.Errorf("%w: %d bytes beyond the receive window of stream %d", ErrProtocol, n, s.id)
	case discarded:
		if err := in.skip(n); err != nil {
			return err
		}
		s.mu.Lock()
		delta := s.repay(n)
		s.mu.Unlock()
		s.grant(delta)
		return nil
	}
	for n > 0 {
		took, err := s.fill(in, n)
		if err != nil {
			return err
		}
		n -= took
	}
	return nil
}

// fill takes at most n bytes. Short bodies are packed, so that a stream takes no
// more memory than four times its window, however the peer cuts its frames.
func (s *Stream) fill(in *inlet, n int) (int, error) {
	if n <= packed {
		return n, s.pack(in, n)
	}
	c, err := s.newChunk(n)
	if err != nil {
		return 0, err
	}
	n = min(n, len(c.room()))
	if err := in.body(c.room()[:n]); err != nil {
		s.free(&c)
		return 0, err
	}
	c.next = n
	if c.first = n - len(s.offer(c.bytes())); c.first == n {
		s.free(&c)
		return n, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep(c)
	return n, nil
}

// packed is the longest body that goes behind the one before it, in bytes.
const packed = inletSize / 2

// pack takes a body to the last chunk where it fits, else to a new one.
func (s *Stream) pack(in *inlet, n int) error {
	body, err := in.gather(n)
	if err != nil {
		return err
	}
	if body = s.offer(body); len(body) == 0 || s.top(body) {
		return nil
	}
	c, err := s.newChunk(len(body))
	if err != nil {
		return err
	}
	c.next = copy(c.room(), body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep(c)
	return nil
}

// top takes a body to the last chunk, where it fits.
func (s *Stream) top(body []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.received) == 0 {
		return false
	}
	last := &s.received[len(s.received)-1]
	if len(last.room()) < len(body) {
		return false
	}
	last.next += copy(last.room(), body)
	s.readable.Broadcast()
	return true
}

// keep adds a chunk. It is called with mu held.
func (s *Stream) keep(c chunk) {
	if s.discarded {
		s.owed += len(c.bytes()) // given back with the next
		s.free(&c)
		return
	}
	s.received = append(s.received, c)
	s.readable.Broadcast()
}

// grow takes a window update.
func (s *Stream) grow(n uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.credit += int64(n); s.credit > 1<<32 {
		return fmt.Errorf("%w: window of stream %d exceeds 4 GiB", ErrProtocol, s.id)
	}
	s.writable.Broadcast()
	return nil
}

// finish takes the end of the peer's direction. It says whether both have ended.
func (s *Stream) finish() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finished = true
	s.settle()
	s.readable.Broadcast()
	return s.closed
}

// lose takes the end of both directions: with the session, or by a reset.
func (s *Stream) lose(reset bool) {
	if f := s.loseQuietly(reset); f != nil {
		f()
	}
}

// loseQuietly is lose, but for what is to be called after a reset.
func (s *Stream) loseQuietly(reset bool) (call func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reset {
		s.reset, call = true, s.onReset
	} else {
		s.lost = true
	}
	s.settle()
	s.readBy.stop()
	s.writeBy.stop()
	s.readable.Broadcast()
	s.writable.Broadcast()
	return call
}
