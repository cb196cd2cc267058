package mux_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
)

func TestControlStreamIsTheFirst(t *testing.T) {
	p := newPair(t)
	control, err := p.agent.Control(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if control.ID() != p.control.ID() {
		t.Errorf("control stream %d on the host's side, %d on the agent's", p.control.ID(), control.ID())
	}
	if _, err := p.control.Write([]byte("request")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 7)
	if _, err := io.ReadFull(control, got); err != nil || string(got) != "request" {
		t.Errorf("the control stream reads %q, %v, want %q", got, err, "request")
	}
}

func TestControlObeysItsContext(t *testing.T) {
	_, far := socketpair(t)
	agent := mux.Server(far)
	defer agent.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := agent.Control(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestCloseFlushesAndIsIdempotent(t *testing.T) {
	p := newPair(t)
	host, agent := p.stream(t)
	sent := bytes.Repeat([]byte("tail "), 20_000)
	if _, err := host.Write(sent); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.host.Close(); err != nil {
			t.Error(err)
		}
	}
	var got bytes.Buffer
	_, err := got.ReadFrom(agent)
	wantLost(t, "the end of a stream that nobody has closed", err)
	if !bytes.Equal(got.Bytes(), sent) {
		t.Errorf("%d bytes of %d", got.Len(), len(sent))
	}
}

func TestOperationsFailWithErrLostAfterTheEnd(t *testing.T) {
	for name, end := range map[string]func(p *pair, near net.Conn){
		"closed by the peer":     func(p *pair, _ net.Conn) { _ = p.agent.Close() },
		"closed locally":         func(p *pair, _ net.Conn) { _ = p.host.Close() },
		"closed under its hands": func(_ *pair, near net.Conn) { _ = near.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			near, far := socketpair(t)
			p := connect(t, near, far)
			host, agent := p.stream(t)
			if p.host.Err() != nil || p.agent.Err() != nil {
				t.Errorf("before the end: %v, %v", p.host.Err(), p.agent.Err())
			}
			end(p, near)
			<-p.host.Done()
			<-p.agent.Done()

			_, err := host.Read(make([]byte, 1))
			wantLost(t, "Read", err)
			_, err = host.Write([]byte("x"))
			wantLost(t, "Write", err)
			_, err = p.host.Open()
			wantLost(t, "Open", err)
			wantLost(t, "Err", p.host.Err())
			if closed := name == "closed locally"; errors.Is(p.host.Err(), mux.ErrClosed) != closed {
				t.Errorf("Err: %v", p.host.Err())
			}
			_, err = agent.Read(make([]byte, 1))
			wantLost(t, "the agent's Read", err)
			_, err = p.agent.Claim(999)
			wantLost(t, "Claim", err)
			_, err = p.agent.Control(context.WithoutCancel(t.Context()))
			if err != nil {
				wantLost(t, "Control", err)
			}
		})
	}
}

// A cut is a connection that ends after its first bytes.
type cut struct {
	net.Conn
	left atomic.Int64
}

func (c *cut) Write(p []byte) (int, error) {
	n := min(int64(len(p)), c.left.Load())
	if n > 0 {
		wrote, err := c.Conn.Write(p[:n])
		if err != nil {
			return wrote, err
		}
	}
	if c.left.Add(-n) == 0 {
		_ = c.Close()
		return int(n), net.ErrClosed
	}
	return int(n), nil
}

// Wherever the agent's bytes end, the host has all of a stream or an error.
func TestConnectionCutAtEveryByteIsNeverAnEnd(t *testing.T) {
	const text = "all of it"
	for size, whole := int64(1), false; !whole; size++ {
		near, far := socketpair(t)
		agentsEnd := &cut{Conn: far}
		agentsEnd.left.Store(size)
		p := connect(t, near, agentsEnd)
		got, err := exchange(p, text)
		whole = err == nil
		if whole && got != text {
			t.Fatalf("cut after %d bytes: %q and a clean end", size, got)
		}
		if !whole && !errors.Is(err, mux.ErrLost) {
			t.Fatalf("cut after %d bytes: %v", size, err)
		}
		_, _ = p.host.Close(), p.agent.Close()
	}
}

// exchange has the agent say a text on a stream, and returns what the host reads.
func exchange(p *pair, text string) (string, error) {
	host, err := p.host.Open()
	if err != nil {
		return "", err
	}
	if agent, err := p.agent.Claim(host.ID()); err == nil {
		_, _ = agent.Write([]byte(text))
		_ = agent.Close()
	}
	got, err := io.ReadAll(host)
	return string(got), err
}

func TestHeardIsWhenBytesLastCame(t *testing.T) {
	p := newPair(t)
	host, agent := p.stream(t)
	silent := p.host.Heard()
	if !p.host.Heard().Equal(silent) {
		t.Error("heard something in silence")
	}
	if _, err := agent.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(host, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if !p.host.Heard().After(silent) {
		t.Error("a byte was not heard")
	}
}
