package mux

import (
	"fmt"
	"io"
)

// OpenTo is [Session.Open] for a stream whose bytes the receiving goroutine
// writes to w as they come: the session keeps none of them, nothing that came
// later is read before they have been written, and w holds up the whole session.
// That is for a connection that serves one command. There is nothing to Read. An
// error of w's ends the session.
func (s *Session) OpenTo(w io.Writer) (*Stream, error) { return s.open(w) }

// pour takes the body of a data frame to where it goes at once. It is called by
// the receiving goroutine.
func (s *Stream) pour(in *inlet, n int) error {
	s.mu.Lock()
	s.window -= n
	broken := s.window < 0 || s.finished
	s.mu.Unlock()
	if broken {
		return fmt.Errorf("%w: %d bytes beyond the receive window of stream %d", ErrProtocol, n, s.id)
	}
	for left := n; left > 0; {
		body, err := in.gather(min(left, inletSize))
		if err != nil {
			return err
		}
		if _, err := s.direct.Write(body); err != nil {
			return err
		}
		left -= len(body)
	}
	s.mu.Lock()
	delta := s.repay(n)
	s.mu.Unlock()
	s.grant(delta)
	return nil
}
