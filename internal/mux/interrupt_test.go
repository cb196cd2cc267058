package mux_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
)

// A stall is a session whose host's connection takes no bytes for now.
type stall struct {
	*pair
	release func()
}

// stalled makes a session with streams that are there, and stalls it under a
// write of another stream.
func stalled(t *testing.T, n int) (s stall, hosts, agents []*mux.Stream) {
	t.Helper()
	near, far := socketpair(t)
	r := &recorder{Conn: near}
	s.pair = connect(t, r, far)
	for range n {
		host, agent := s.stream(t)
		hosts, agents = append(hosts, host), append(agents, agent)
	}
	other, _ := s.stream(t)
	s.release = r.stop()
	go func() { _, _ = other.Write(make([]byte, 8<<10)) }() // ends with release
	<-r.held
	return s, hosts, agents
}

func begin(write func() (int, error)) <-chan error {
	done := make(chan error, 1)
	go func() { _, err := write(); done <- err }()
	return done
}

// The end of a stream must not overtake what is still being written to it: to
// the peer that would be a broken rule, which ends the session.
func TestCloseDuringAWriteComesBehindIt(t *testing.T) {
	s, hosts, agents := stalled(t, 1)
	host, agent := hosts[0], agents[0]
	sent := bytes.Repeat([]byte("x"), mux.MaxFrame)
	written := begin(func() (int, error) { return host.Write(sent) })
	waitForSending(t, host)
	_ = host.Close()
	s.release()
	if err := <-written; err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(agent); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d, %v", len(got), len(sent), err)
	}
	if s.host.Err() != nil {
		t.Error(s.host.Err())
	}
}

func waitForSending(t *testing.T, s *mux.Stream) {
	t.Helper()
	until(t, "a frame is on its way", s.Sending)
}

func TestWriteDeadlineEndsAWaitForTheWindow(t *testing.T) {
	p := newPair(t)
	host, agent := p.stream(t)
	const window = 256 << 10
	sent := make([]byte, window+1000)
	for i := range sent {
		sent[i] = byte(i / 251)
	}
	ended := make(chan struct{})
	var n int
	var err error
	go func() { defer close(ended); n, err = host.Write(sent) }()
	waitForFullWindow(t, host)
	host.SetWriteDeadline(time.Now().Add(time.Millisecond))
	within(t, "the Write", func() { <-ended })
	if n > window || n <= window-mux.MaxFrame/2 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes, %v; want %d, or less than half a frame fewer", n, err, window)
	}
	if n, err := host.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a later Write: %d, %v", n, err)
	}
	host.SetWriteDeadline(time.Time{})
	rest := begin(func() (int, error) { n, err := host.Write(sent[n:]); _ = host.Close(); return n, err })
	if got, err := io.ReadAll(agent); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d, %v", len(got), len(sent), err)
	}
	if err := <-rest; err != nil {
		t.Error(err)
	}
}

// waitForFullWindow waits until none is left that is worth a frame.
func waitForFullWindow(t *testing.T, s *mux.Stream) {
	t.Helper()
	until(t, "the window is full", func() bool { return s.SendWindow() < mux.MaxFrame/2 })
}

func TestPastWriteDeadlineTakesNothing(t *testing.T) {
	host, _ := newPair(t).stream(t)
	host.SetWriteDeadline(time.Unix(1, 0))
	if n, err := host.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Write after its deadline = %d, %v, want 0, %v", n, err, os.ErrDeadlineExceeded)
	}
	host.SetWriteDeadline(time.Time{})
	if n, err := host.Write([]byte("x")); n != 1 || err != nil {
		t.Errorf("Write without a deadline = %d, %v, want 1", n, err)
	}
}

// While a VM is paused, its connection takes no bytes.
func TestInterruptibleWriteEndsOnAStalledConn(t *testing.T) {
	sent := bytes.Repeat([]byte("0123456789abcdef"), 2*mux.MaxFrame/16)
	for how, interrupt := range map[string]func(*mux.Stream){
		"deadline": func(s *mux.Stream) { s.SetWriteDeadline(time.Now().Add(time.Millisecond)) },
		"close":    func(s *mux.Stream) { _ = s.Close() },
		"discard":  func(s *mux.Stream) { s.Discard() },
	} {
		t.Run(how, func(t *testing.T) {
			s, hosts, agents := stalled(t, 1)
			host, agent := hosts[0], agents[0]
			host.Interruptible()
			p := bytes.Clone(sent)
			var n int
			written := begin(func() (int, error) { var err error; n, err = host.Write(p); return n, err })
			waitForSending(t, host)
			interrupt(host)
			within(t, "the Write", func() {
				if err := <-written; !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, os.ErrClosed) {
					t.Error(err)
				}
			})
			clear(p) // it is the caller's again
			s.release()
			within(t, "what was left behind", host.Flush)
			host.SetWriteDeadline(time.Time{})
			if how == "deadline" {
				if _, err := host.Write(sent[n:]); err != nil {
					t.Error(err)
				}
				n = len(sent)
			}
			_ = host.Close()
			if got, err := io.ReadAll(agent); err != nil || !bytes.Equal(got, sent[:n]) {
				t.Errorf("%d bytes, want the %d that were taken; %v", len(got), n, err)
			}
		})
	}
}

func TestWriteBehindAnInterruptedOneEndsToo(t *testing.T) {
	s, hosts, _ := stalled(t, 1)
	defer s.release()
	host := hosts[0]
	host.Interruptible()
	host.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	for range 2 {
		within(t, "a Write", func() {
			if _, err := host.Write(make([]byte, 2*mux.MaxFrame)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
		})
	}
}

func TestResetComesBehindWrittenBytes(t *testing.T) {
	p := newPair(t)
	host, agent := p.stream(t)
	if _, err := agent.Write([]byte("so far")); err != nil {
		t.Fatal(err)
	}
	agent.Reset()
	agent.Reset()
	if got, err := io.ReadAll(host); string(got) != "so far" || !errors.Is(err, mux.ErrReset) {
		t.Errorf("the peer reads %q, %v", got, err)
	}
	if _, err := host.Write([]byte("x")); !errors.Is(err, mux.ErrReset) {
		t.Errorf("the peer's Write: %v", err)
	}
	for what, err := range map[string]error{
		"Read":  second(agent.Read(make([]byte, 1))),
		"Write": second(agent.Write([]byte("x"))),
	} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s after Reset: %v", what, err)
		}
	}
	if h, a := p.host.NumStreams(), p.agent.NumStreams(); h != 1 || a != 1 {
		t.Errorf("%d and %d streams are left", h, a)
	}
}

func second(_ int, err error) error { return err }

func TestResetOfAStreamThatHasEndedChangesNothing(t *testing.T) {
	p := newPair(t)
	host, agent := p.stream(t)
	_, _ = agent.Write([]byte("all"))
	_, _ = host.Close(), agent.Close()
	if _, err := io.ReadAll(agent); err != nil {
		t.Fatal(err)
	}
	agent.Reset()
	if got, err := io.ReadAll(host); string(got) != "all" || err != nil {
		t.Errorf("the peer reads %q, %v", got, err)
	}
}

func TestResetDuringTheHostsWriteEndsIt(t *testing.T) {
	p := newPair(t)
	host, agent := p.stream(t)
	written := begin(func() (int, error) { return host.Write(make([]byte, 1<<20)) })
	waitForFullWindow(t, host)
	agent.Reset()
	within(t, "the Write", func() {
		if err := <-written; !errors.Is(err, mux.ErrReset) {
			t.Error(err)
		}
	})
}
