//go:build linux

package client_test

import (
	"context"
	"encoding/hex"
	"net"
	"sync/atomic"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A fakeVM is dialed, each time with a guest that behaves as a test says.
type fakeVM struct {
	tb     testing.TB
	behave func(dial int, g *guest)
	dials  atomic.Int32
}

// dial is a PoolConfig's.
func (v *fakeVM) dial(ctx context.Context, _ string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	n := int(v.dials.Add(1))
	go func() { // ends with the connection
		if g, err := newGuest(v.tb, far); err == nil {
			v.behave(n, g)
		}
	}()
	return near, nil
}

// fakePool returns a Pool of one VM.
func fakePool(tb testing.TB, config client.PoolConfig, behave func(dial int, g *guest)) (*client.Pool, *fakeVM) {
	tb.Helper()
	v := &fakeVM{tb: tb, behave: behave}
	config.Dial = v.dial
	return newPool(tb, config), v
}

// helloOf is what a says first.
func helloOf(tb testing.TB, a *agenttest.Agent) *wire.Hello {
	tb.Helper()
	h, err := connect(tb, a.Target).Hello(patiently(tb))
	if err != nil {
		tb.Fatal(err)
	}
	id, err := hex.DecodeString(h.AgentID)
	if err != nil {
		tb.Fatal(err)
	}
	return &wire.Hello{Min: 2, Max: 2, BootID: h.BootID, AgentID: id}
}

// serve greets, and answers every ping, and every exec by its success.
func (g *guest) serve(hello *wire.Hello) {
	g.offend(hello)
	for {
		m, err := wire.Read(g.in)
		if err != nil {
			return // the connection has ended
		}
		switch m := m.(type) {
		case *wire.Ping:
			g.offend(&wire.Done{Head: wire.Head{ID: m.ID}})
		case *wire.Exec:
			g.offend(&wire.Started{Head: wire.Head{ID: m.ID}, PID: 42})
			g.offend(exited(m, 0))
		}
	}
}

// refuse greets, and answers every request by an error.
func (g *guest) refuse(hello *wire.Hello, kind wire.ErrorKind) {
	g.offend(hello)
	for {
		m, err := wire.Read(g.in)
		if err != nil {
			return // the connection has ended
		}
		if _, id := wire.About(m); id != 0 {
			g.offend(&wire.Error{Head: wire.Head{ID: id}, Kind: kind, Message: "going down"})
		}
	}
}

func greeting(boot, agent string) *wire.Hello {
	return &wire.Hello{Min: 2, Max: 2, OS: "linux", BootID: boot, AgentID: []byte(agent)}
}
