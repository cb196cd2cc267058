package mux

import (
	"fmt"
	"io"
)

// OpenTo is [Session.Open] for a stream whose bytes the receiving goroutine writes to w
// as they come. The session keeps none of them, reads nothing that came later before
// they have been written, and is held up as a whole by w. That is for a connection that
// serves one command. There is nothing to Read. An error of w's ends the session.
func (s *Session) OpenTo(w io.Writer) (*Stream, error) { return s.open(w) }

// pour takes the body of a data frame to where it goes at once. It is called by
// the receiving goroutine.
func (s *Stream) pour(r *frameReader, n int) error {
	s.mu.Lock()
	s.recvWindow -= n
	broken := s.recvWindow < 0 || s.finished
	s.mu.Unlock()
	if broken {
		return fmt.Errorf("%w: %d bytes beyond the receive window of stream %d", ErrProtocol, n, s.id)
	}
	for left := n; left > 0; {
		body, err := r.gather(min(left, readAhead))
		if err != nil {
			return err
		}
		if _, err := s.direct.Write(body); err != nil {
			return err
		}
		left -= len(body)
	}
	s.mu.Lock()
	delta := s.windowUpdateLocked(n)
	s.mu.Unlock()
	s.grant(delta)
	return nil
}
