//go:build linux

package session_test

import (
	"bytes"
	"net"
	"sync/atomic"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func limited(t *testing.T, quotas session.Quotas) *agenttest.Agent {
	t.Helper()
	return agenttest.StartWith(t, func(c *session.Config) { c.Quotas = quotas })
}

func keep(id uint64) *wire.Exec {
	return &wire.Exec{Head: wire.Head{ID: id}, Argv: []string{"sleep", "1000"}, OnDisconnect: wire.DisconnectKeep}
}

// list returns what runs, as the agent says.
func (h *host) list(id uint64) []wire.ExecState {
	h.tb.Helper()
	h.send(&wire.Execs{Head: wire.Head{ID: id}})
	done, ok := h.receive().(*wire.Done)
	if !ok || done.ID != id || done.Execs == nil {
		h.tb.Fatalf("answer to execs: %+v", done)
	}
	return done.Execs.Running
}

// One host keeps as many commands as the agent takes and goes away; the next
// one finds them, and ends one.
func TestKeptExecsCanBeListedAndEnded(t *testing.T) {
	a := limited(t, session.Quotas{AllExecs: 4})
	first := connect(t, a)
	var handles [][]byte
	for id := range uint64(2) {
		first.send(keep(id + 1))
		handles = append(handles, first.receive().(*wire.Started).Handle)
	}
	first.send(keep(3))
	wantError(t, first.receive(), 3, wire.Limit, "kept")
	_ = first.mux.Close()

	h := connect(t, a)
	agenttest.Eventually(t, "the end of the first connection", func() bool {
		list := h.list(1)
		return len(list) == 2 && !list[0].Connected && !list[1].Connected
	})
	list := h.list(1)
	for i, e := range list {
		if !bytes.Equal(e.Handle, handles[i]) || e.PID == 0 || e.Command != "sleep" || !e.Keep {
			t.Errorf("exec %d of the list: %+v, want sleep with the handle %x", i, e, handles[i])
		}
	}
	h.exec(9, "true") // there is room for others
	if x, ok := h.receive().(*wire.Exited); !ok || x.Code != 0 {
		t.Errorf("an exec beside the kept ones: %+v", x)
	}
	h.send(&wire.Kill{Head: wire.Head{ID: 2}, Handle: handles[0], Force: true})
	if m, ok := h.receive().(*wire.Done); !ok || m.ID != 2 {
		t.Errorf("answer to kill by handle: %+v", m)
	}
	agenttest.Eventually(t, "the end of the killed one", func() bool { return gone(list[0].PID) && len(h.list(3)) == 1 })
	h.send(&wire.Kill{Head: wire.Head{ID: 4}, Handle: handles[0]})
	wantError(t, h.receive(), 4, wire.NotFound, " does not run")
	h.send(keep(5)) // the room of the one that was killed
	if _, ok := h.receive().(*wire.Started); !ok {
		t.Error("no room for a kept exec after one has ended")
	}
}

// A connection with an exec cannot take the last of what all may have.
func TestSomeExecsAreForConnectionsThatHaveNone(t *testing.T) {
	a := limited(t, session.Quotas{AllExecs: 4})
	greedy := connect(t, a)
	for id := range uint64(3) {
		greedy.exec(id+1, "sleep", "1000")
	}
	greedy.send(&wire.Exec{Head: wire.Head{ID: 4}, Argv: []string{"true"}})
	wantError(t, greedy.receive(), 4, wire.Limit, "(1 more are reserved for")
	connect(t, a).exec(1, "sleep", "1000")
	late := connect(t, a)
	late.send(&wire.Exec{Head: wire.Head{ID: 1}, Argv: []string{"true"}})
	wantError(t, late.receive(), 1, wire.Limit, "4 execs in total")
}

// Hosts of another class neither see an exec nor end it.
func TestExecsOfAnotherClassAreNotSeen(t *testing.T) {
	classes := make(chan string, 2)
	classes <- "one"
	classes <- "other"
	a := agenttest.StartWith(t, func(c *session.Config) {
		admit := c.Admit
		c.Admit = func(nc net.Conn) (session.Peer, error) {
			p, err := admit(nc)
			p.Class = <-classes
			return p, err
		}
	})
	one := connect(t, a)
	started := one.exec(1, "sleep", "1000")
	other := connect(t, a)
	if list := other.list(1); len(list) != 0 {
		t.Errorf("execs of another class are listed: %+v", list)
	}
	other.send(&wire.Kill{Head: wire.Head{ID: 2}, Handle: started.Handle, Force: true})
	wantError(t, other.receive(), 2, wire.NotFound, " does not run")
	if list := one.list(2); len(list) != 1 || !bytes.Equal(list[0].Handle, started.Handle) || !list[0].Connected || list[0].Keep {
		t.Errorf("execs of the own class: %+v, want the one that runs", list)
	}
}

// One class of hosts, with any number of connections, takes neither all execs nor
// all connections from another one.
func TestOneClassDoesNotLockOutAnother(t *testing.T) {
	var class atomic.Value
	class.Store("greedy")
	a := agenttest.StartWith(t, func(c *session.Config) {
		c.Quotas = session.Quotas{AllExecs: 16, Connections: 20}
		admit := c.Admit
		c.Admit = func(nc net.Conn) (session.Peer, error) {
			p, err := admit(nc)
			p.Class = class.Load().(string)
			return p, err
		}
	})
	refused := 0
	for range 20 {
		h := connect(t, a)
		h.send(&wire.Exec{Head: wire.Head{ID: 1}, Argv: []string{"sleep", "1000"}})
		if e, ok := h.receive().(*wire.Error); ok && e.Kind == wire.Limit {
			refused++
		}
	}
	if refused != 6 {
		t.Errorf("of 20 execs on connections of their own %d are refused, want 6: 2 of 16 are for other classes", refused)
	}
	class.Store("other")
	other := connect(t, a)
	wantServed(t, other)
	other.exec(2, "true")
}

func TestForwardsAndExecsLeaveEachOtherRoom(t *testing.T) {
	a := limited(t, session.Quotas{AllExecs: 1, AllForwards: 4})
	dir := t.TempDir()
	holdUnix(t, dir+"/service")
	h := connect(t, a)
	for id := range uint64(3) {
		if m, ok := h.askForward(id+1, dir+"/service").(*wire.Started); !ok {
			t.Fatalf("answer to forward %d: %+v", id+1, m)
		}
	}
	wantError(t, h.askForward(4, dir+"/service"), 4, wire.Limit, "3 forwards in total (1 more are reserved")
	other := connect(t, a)
	other.exec(1, "sleep", "1000")
	if m, ok := other.askForward(2, dir+"/service").(*wire.Started); !ok {
		t.Errorf("answer to the forward of a connection without forwards: %+v", m)
	}
	wantError(t, other.askForward(3, dir+"/service"), 3, wire.Limit, "forwards in total")
}
