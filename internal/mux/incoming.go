package mux

import "fmt"

// The session's receiving goroutine calls the methods of this file. They move received
// bytes from the connection to a stream.

// receive takes the body of a data frame.
func (s *Stream) receive(r *frameReader, n int) error {
	if n == 0 {
		return nil
	}
	s.mu.Lock()
	discarded := s.discarded
	s.recvWindow -= n
	broken := s.recvWindow < 0 || s.finished
	s.mu.Unlock()
	switch {
	case broken:
		return fmt.Errorf("%w: %d bytes beyond the receive window of stream %d", ErrProtocol, n, s.id)
	case discarded:
		if err := r.skip(n); err != nil {
			return err
		}
		s.mu.Lock()
		delta := s.windowUpdateLocked(n)
		s.mu.Unlock()
		s.grant(delta)
		return nil
	}
	for n > 0 {
		took, err := s.fill(r, n)
		if err != nil {
			return err
		}
		n -= took
	}
	return nil
}

// fill takes at most n bytes. Chunks are filled up, so that a stream takes little more
// memory than its window, however the peer cuts its frames.
func (s *Stream) fill(r *frameReader, n int) (int, error) {
	if room := s.room(); room >= worthFilling {
		n = min(n, room, packed)
	}
	if n <= packed {
		return n, s.pack(r, n)
	}
	c, err := s.newChunk(n)
	if err != nil {
		return 0, err
	}
	n = min(n, len(c.room()))
	if err := r.body(c.room()[:n]); err != nil {
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
	s.keepLocked(c)
	return n, nil
}

const (
	// packed is how much of a body goes through the frameReader's buffer, in bytes, rather than
	// straight into a chunk of its own.
	packed = readAhead / 2

	// worthFilling is how much room in the last chunk the beginning of a long body goes
	// to, in bytes: a sixteenth of the largest chunk.
	worthFilling = largeChunk / 16
)

// room returns how much room the last chunk has, in bytes.
func (s *Stream) room() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.received) == 0 {
		return 0
	}
	return len(s.received[len(s.received)-1].room())
}

// pack takes a body to the last chunk, as far as that has room, and else to a new one.
func (s *Stream) pack(r *frameReader, n int) error {
	body, err := r.gather(n)
	if err != nil {
		return err
	}
	if body = s.top(s.offer(body)); len(body) == 0 {
		return nil
	}
	c, err := s.newChunk(len(body))
	if err != nil {
		return err
	}
	c.next = copy(c.room(), body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keepLocked(c)
	return nil
}

// top takes the beginning of a body to the last chunk, and returns the rest.
func (s *Stream) top(body []byte) (rest []byte) {
	if len(body) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.received) == 0 {
		return body
	}
	last := &s.received[len(s.received)-1]
	n := copy(last.room(), body)
	last.next += n
	s.readable.Broadcast()
	return body[n:]
}

// keepLocked adds a chunk. It is called with mu held.
func (s *Stream) keepLocked(c chunk) {
	if s.discarded {
		s.consumed += len(c.bytes()) // given back with the next
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
	if s.sendWindow += int64(n); s.sendWindow > 1<<32 {
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
	s.settleLocked()
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
	s.settleLocked()
	s.readBy.stop()
	s.writeBy.stop()
	s.readable.Broadcast()
	s.writable.Broadcast()
	return call
}
