//go:build linux

package session_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// tight returns an agent that has memory for little more than one large request.
func tight(t *testing.T) *agenttest.Agent {
	t.Helper()
	return agenttest.StartWith(t, func(c *session.Config) {
		c.Quotas.QuotaConfig = mux.QuotaConfig{Input: 18 << 20, AllInput: 18 << 20}
	})
}

// announce begins a request of a size, for which memory is reserved, and sends no
// more of it than what is given.
func (h *host) announce(size int, begin ...byte) {
	h.tb.Helper()
	if _, err := h.control.Write(append(binary.BigEndian.AppendUint32(nil, uint32(size)), begin...)); err != nil {
		h.tb.Fatal(err)
	}
}

// large is an exec that takes memory, and fails for another reason.
func large(id uint64) *wire.Exec {
	return &wire.Exec{Head: wire.Head{ID: id}, Argv: []string{"no-such-command", string(make([]byte, 3<<20))}}
}

func wantServed(t *testing.T, h *host) {
	t.Helper()
	h.send(&wire.Ping{Head: wire.Head{ID: 1}})
	if m, ok := h.receive().(*wire.Done); !ok || m.ID != 1 {
		t.Fatalf("answer to ping: %+v, want done", m)
	}
}

// Memory that was reserved for a request goes back when that does not come.
func TestRequestsThatDoNotComeKeepNoMemory(t *testing.T) {
	for name, begin := range map[string][]byte{
		"cut":       nil,
		"malformed": make([]byte, wire.MaxMessage), // a positive fixint, and more behind it
	} {
		t.Run(name, func(t *testing.T) {
			a := tight(t)
			for range 4 {
				h := connect(t, a)
				h.announce(wire.MaxMessage, begin...)
				_ = h.mux.Close()
			}
			h := connect(t, a)
			wantServed(t, h)
			agenttest.Eventually(t, "memory for a large request", func() bool {
				h.send(large(2))
				e, ok := h.receive().(*wire.Error)
				return ok && e.Kind != wire.Limit
			})
		})
	}
}

// An answer quotes no more of a request than it has room for.
func TestErrorAboutALongArgumentIsAnswered(t *testing.T) {
	h := connect(t, agenttest.Start(t))
	h.send(large(1))
	wantError(t, h.receive(), 1, wire.BadRequest, "has a NUL byte")
	h.send(&wire.Exec{Head: wire.Head{ID: 2}, Argv: []string{"/" + strings.Repeat("x", 3<<20)}})
	wantError(t, h.receive(), 2, wire.NotFound, "")
	h.send(&wire.Exec{Head: wire.Head{ID: 3}, Argv: []string{"true"}, User: strings.Repeat("u", 3<<20)})
	wantError(t, h.receive(), 3, wire.BadRequest, "user")
}

// A host that sends half a request has memory that others lack, for a while; what
// needs none is answered meanwhile, to hosts that come later, too.
func TestHalfARequestKeepsNobodyFromBeingHeard(t *testing.T) {
	a := tight(t)
	slow := connect(t, a)
	slow.announce(wire.MaxMessage, 0x80)
	h := connect(t, a)
	agenttest.Eventually(t, "the slow request has the memory", func() bool {
		h.send(large(2))
		e, ok := h.receive().(*wire.Error)
		return ok && e.Kind == wire.Limit
	})
	wantServed(t, h)
	wantServed(t, connect(t, a))
	connect(t, a).exec(1, "true")
}

// A connection that waits for memory ends with the agent all the same.
func TestShutdownEndsConnectionsWaitingForMemory(t *testing.T) {
	a := tight(t)
	slow := connect(t, a)
	slow.announce(wire.MaxMessage, 0x80)
	h := connect(t, a)
	in := h.open()
	h.send(&wire.Exec{Head: wire.Head{ID: 1}, Argv: []string{"sleep", "1000"}, Stdin: in.ID()})
	if _, ok := h.receive().(*wire.Started); !ok {
		t.Fatal("the exec has not started")
	}
	flooded := make(chan struct{})
	go func() { // ends with the connection
		defer close(flooded)
		for {
			if _, err := in.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}()
	a.Shutdown(t) // fails the test when it takes too long
	<-flooded
}
