package transport

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A stingySocket takes what its peer has given credit for, and no more than a part at once.
type stingySocket struct {
	mu     sync.Mutex
	got    bytes.Buffer
	credit int
	part   int
	asked  int
	err    error // instead of errNoCredit
}

func (s *stingySocket) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	n := min(len(p), s.credit, s.part)
	if n == 0 {
		if s.err != nil {
			return 0, s.err
		}
		return 0, errNoCredit
	}
	s.credit -= n
	return s.got.Write(p[:n])
}

// give gives credit, and returns how often the socket has been asked.
func (s *stingySocket) give(n int) (asked int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.credit += n
	return s.asked
}

func TestWriteWaitsForCreditAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stingySocket{credit: 10, part: 4}
		w := newCreditWriter(s)
		done := make(chan error)
		text := []byte("everything that the host reads after its pause")
		go func() {
			_, err := w.Write(text)
			done <- err
		}()
		begun := s.give(0)
		time.Sleep(10 * time.Second) //nolint:forbidigo // of synctest: the host does not read
		if n := s.give(1000) - begun; n > int(10*time.Second/creditLate)+10 {
			t.Errorf("asked %d times in 10 s", n)
		}
		if err := <-done; err != nil || !bytes.Equal(s.got.Bytes(), text) {
			t.Errorf("the socket gets %q, %v, want %q", s.got.String(), err, text)
		}
	})
}

func TestWriteWithoutCreditEnds(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(*creditWriter)
		want error
	}{
		"by a deadline that was set before": {func(*creditWriter) {}, os.ErrDeadlineExceeded},
		"by a deadline that is set now":     {func(w *creditWriter) { w.setDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
		"by Close":                          {func(w *creditWriter) { w.close(); w.close() }, os.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &stingySocket{credit: 3, part: 3}
				w := newCreditWriter(s)
				w.setDeadline(time.Now().Add(time.Minute))
				done := make(chan error)
				var n int
				go func() {
					var err error
					n, err = w.Write([]byte("four"))
					done <- err
				}()
				synctest.Wait()
				test.end(w)
				if err := <-done; !errors.Is(err, test.want) || n != 3 {
					t.Errorf("%d bytes, %v", n, err)
				}
				if n, err := w.Write([]byte("more")); !errors.Is(err, test.want) || n != 0 {
					t.Errorf("the next one: %d bytes, %v", n, err)
				}
			})
		})
	}
}

func TestWriteEndsWithTheSocketsError(t *testing.T) {
	reset := errors.New("reset")
	s := &stingySocket{credit: 5, part: 5, err: reset}
	if n, err := newCreditWriter(s).Write([]byte("more than that")); n != 5 || !errors.Is(err, reset) {
		t.Errorf("%d bytes, %v", n, err)
	}
}
