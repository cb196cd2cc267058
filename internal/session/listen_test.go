//go:build linux

package session_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// listens has the agent listen on any port, and returns the address.
func (h *host) listens(id uint64) string {
	h.tb.Helper()
	h.send(&wire.Listen{Head: wire.Head{ID: id}, Network: "tcp4", Address: "localhost:0"})
	m, ok := h.receive().(*wire.Started)
	if !ok || m.ID != id || m.Address == "" {
		h.tb.Fatalf("answer to listen: %+v", m)
	}
	return m.Address
}

// accepts asks for the next connection of a listener.
func (h *host) accepts(id, listener uint64) *mux.Stream {
	h.tb.Helper()
	stream := h.open()
	h.send(&wire.Accept{Head: wire.Head{ID: id}, Listener: listener, Stream: stream.ID()})
	return stream
}

func dialListener(tb testing.TB, address string) *net.TCPConn {
	tb.Helper()
	nc, err := net.Dial("tcp", address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(agenttest.Patience))
	return nc.(*net.TCPConn)
}

func listenAgent(t *testing.T, change func(*session.Config)) *agenttest.Agent {
	t.Helper()
	return agenttest.StartWith(t, func(c *session.Config) {
		c.Policy.Listen = rules(t, "tcp:*")
		change(c)
	})
}

func TestListenIsDeniedUnlessARuleAllowsIt(t *testing.T) {
	taken := agenttest.Listen(t, "tcp").Addr().String()
	for name, c := range map[string]struct {
		policy           session.Policy
		network, address string
		kind             wire.ErrorKind
		message          string
	}{
		"no rule":      {session.Policy{}, "tcp", "localhost:0", wire.PermissionDenied, "listen at tcp localhost:0"},
		"other port":   {session.Policy{Listen: rules(t, "tcp:8080")}, "tcp", "localhost:8081", wire.PermissionDenied, "not allowed"},
		"any port":     {session.Policy{Listen: rules(t, "tcp:8080")}, "tcp", "localhost:0", wire.PermissionDenied, "not allowed"},
		"not loopback": {session.Policy{Listen: rules(t, "tcp:*")}, "tcp", "0.0.0.0:0", wire.BadRequest, "the guest itself"},
		"unix":         {session.Policy{Listen: rules(t, "tcp:*", "unix:/x")}, "unix", "/x", wire.BadRequest, "want tcp"},
		"taken":        {session.Policy{Listen: rules(t, "tcp:*")}, "tcp", taken, wire.Limit, "address already in use"},
	} {
		t.Run(name, func(t *testing.T) {
			h := connect(t, governed(t, c.policy))
			h.send(&wire.Listen{Head: wire.Head{ID: 1}, Network: c.network, Address: c.address})
			wantError(t, h.receive(), 1, c.kind, c.message)
		})
	}
}

func TestAcceptCarriesAConnection(t *testing.T) {
	a := listenAgent(t, func(*session.Config) {})
	h := connect(t, a)
	address := h.listens(1)
	for id := uint64(2); id < 6; id++ {
		stream := h.accepts(id, 1)
		nc := dialListener(t, address)
		if m, ok := h.receive().(*wire.Started); !ok || m.ID != id || m.Address != nc.LocalAddr().String() {
			t.Fatalf("answer to accept: %+v, want the client's address %s", m, nc.LocalAddr())
		}
		_, _ = io.WriteString(nc, "question")
		_ = nc.CloseWrite()
		if got, err := io.ReadAll(stream); err != nil || string(got) != "question" {
			t.Fatalf("the host reads %q, %v, want %q", got, err, "question")
		}
		_, _ = io.WriteString(stream, "answer")
		_ = stream.Close()
		if got, err := io.ReadAll(nc); err != nil || string(got) != "answer" {
			t.Fatalf("the client reads %q, %v, want %q", got, err, "answer")
		}
		wantDone(t, h.receive(), id)
	}
	for _, record := range []string{`"listen started"`, `"accept started"`, `"accept ended"`} {
		if !strings.Contains(a.Log.String(), record) {
			t.Errorf("the log has no %s", record)
		}
	}
}

func TestAcceptOfNoListenerIsNotFound(t *testing.T) {
	h := connect(t, listenAgent(t, func(*session.Config) {}))
	h.exec(1, "sleep", "1000")
	for id, listener := range map[uint64]uint64{2: 1, 3: 99} {
		stream := h.accepts(id, listener)
		wantError(t, h.receive(), id, wire.NotFound, fmt.Sprintf("no listener %d", listener))
		if _, err := io.ReadAll(stream); err != nil {
			t.Errorf("its stream: %v", err)
		}
	}
	h.send(&wire.Accept{Head: wire.Head{ID: 4}, Listener: 1})
	wantError(t, h.receive(), 4, wire.BadRequest, "accept without a stream")
}

func TestKillOfAListenEndsWaitingAccepts(t *testing.T) {
	h := connect(t, listenAgent(t, func(*session.Config) {}))
	address := h.listens(1)
	open := h.accepts(2, 1)
	nc := dialListener(t, address)
	if m, ok := h.receive().(*wire.Started); !ok || m.ID != 2 {
		t.Fatalf("answer to accept: %+v", m)
	}
	h.accepts(3, 1)
	h.send(&wire.Kill{Head: wire.Head{ID: 4}, Exec: 1})
	got := map[uint64]wire.Message{}
	for range 3 {
		m := h.receive()
		_, id := wire.About(m)
		got[id] = m
	}
	wantDone(t, got[1], 1)
	wantDone(t, got[4], 4)
	wantError(t, got[3], 3, wire.NotFound, "the listener has ended")
	if _, err := net.Dial("tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a listener that was killed: %v, want %v", err, syscall.ECONNREFUSED)
	}
	_, _ = io.WriteString(open, "still here")
	_ = open.Close()
	if got, err := io.ReadAll(nc); err != nil || string(got) != "still here" {
		t.Errorf("a connection that was accepted before reads %q, %v", got, err)
	}
}

// A host that never accepts, and then leaves.
func TestListenEndsWithItsConnection(t *testing.T) {
	a := listenAgent(t, func(*session.Config) {})
	h := connect(t, a)
	address := h.listens(1)
	var clients []*net.TCPConn
	for range 4 { // one waits in the agent, the others in the kernel
		clients = append(clients, dialListener(t, address))
	}
	_ = h.mux.Close()
	for i, nc := range clients {
		if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("client %d reads %v, want %v", i, err, syscall.ECONNRESET)
		}
	}
	agenttest.Eventually(t, "the port is free", func() bool {
		nc, err := net.Dial("tcp", address)
		if err == nil {
			_ = nc.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
}

func TestKilledAcceptTakesNoConnection(t *testing.T) {
	h := connect(t, listenAgent(t, func(*session.Config) {}))
	address := h.listens(1)
	h.accepts(2, 1)
	h.send(&wire.Kill{Head: wire.Head{ID: 3}, Exec: 2})
	got := map[uint64]wire.Message{}
	for range 2 {
		m := h.receive()
		_, id := wire.About(m)
		got[id] = m
	}
	wantDone(t, got[3], 3)
	wantError(t, got[2], 2, wire.BadRequest, "killed before it started")
	h.accepts(4, 1)
	dialListener(t, address)
	if m, ok := h.receive().(*wire.Started); !ok || m.ID != 4 {
		t.Errorf("answer to the next accept: %+v", m)
	}
}

func TestListensCountAsForwards(t *testing.T) {
	h := connect(t, listenAgent(t, func(c *session.Config) { c.Quotas.Forwards = 2 }))
	h.listens(1)
	h.accepts(2, 1)
	h.accepts(3, 1)
	wantError(t, h.receive(), 3, wire.Limit, "2 forwards per connection")
}

func TestListenEndsAtAShutdown(t *testing.T) {
	a := listenAgent(t, func(*session.Config) {})
	h := connect(t, a)
	h.listens(1)
	ended := make(chan struct{})
	go func() { a.Shutdown(t); close(ended) }() // ends with the agent
	wantError(t, h.receive(), 1, wire.ShuttingDown, "")
	<-ended
}
