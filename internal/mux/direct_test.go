package mux_test

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
)

// A gate is a writer that waits to be opened, for each piece.
type gate struct {
	mu      sync.Mutex
	got     bytes.Buffer
	entered chan struct{} // has a token for each Write
	open    chan struct{} // closed when they may go on
	fail    error
}

func (g *gate) Write(p []byte) (int, error) {
	select {
	case g.entered <- struct{}{}:
	default:
	}
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.fail != nil {
		return 0, g.fail
	}
	return g.got.Write(p)
}

func (g *gate) len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.got.Len()
}

func TestOpenToHoldsUpTheSessionAndLosesNothing(t *testing.T) {
	p := newPair(t)
	g := &gate{entered: make(chan struct{}, 1), open: make(chan struct{})}
	host, err := p.host.OpenTo(g)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := host.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	agent, err := p.agent.Claim(host.ID())
	if err != nil {
		t.Fatal(err)
	}
	control, err := p.agent.Control(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // far more than a window
	written := make(chan error, 1)
	go func() { // ends when all has been taken
		_, err := agent.Write(sent)
		if err == nil {
			_, err = control.Write([]byte("behind"))
		}
		written <- err
	}()
	<-g.entered
	if n := g.len(); n != 0 {
		t.Errorf("%d bytes went through a gate that is closed", n)
	}
	close(g.open)
	got := make([]byte, len("behind"))
	if _, err := io.ReadFull(p.control, got); err != nil || string(got) != "behind" {
		t.Errorf("the control stream reads %q, %v, want %q", got, err, "behind")
	}
	if g.len() != len(sent) || !bytes.Equal(g.got.Bytes(), sent) { // before what comes behind it
		t.Errorf("%d bytes of %d", g.len(), len(sent))
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

func TestWriterThatFailsEndsTheSession(t *testing.T) {
	p := newPair(t)
	broken := errors.New("broken")
	g := &gate{entered: make(chan struct{}, 1), open: make(chan struct{}), fail: broken}
	close(g.open)
	host, err := p.host.OpenTo(g)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := host.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	agent, err := p.agent.Claim(host.ID())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := agent.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	<-p.host.Done()
	if err := p.host.Err(); !errors.Is(err, broken) || !errors.Is(err, mux.ErrLost) {
		t.Error(err)
	}
}
