//go:build linux

package client_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

const (
	oneAgent   = "0123456789abcdef"
	otherAgent = "fedcba9876543210"
)

func TestPoolRetriesOverTheSameAgentAlone(t *testing.T) {
	for name, x := range map[string]struct {
		before, after *wire.Hello
		why           string // empty: it is tried again
	}{
		"the same":            {greeting("b", oneAgent), greeting("b", oneAgent), ""},
		"none has ids":        {greeting("", ""), greeting("", ""), ""},
		"agents without ids":  {greeting("b", ""), greeting("b", ""), ""},
		"another boot id":     {greeting("b", oneAgent), greeting("c", oneAgent), "boot id c, want b"},
		"another agent id":    {greeting("b", oneAgent), greeting("b", otherAgent), "agent id 66656463626139383736353433323130, want 30313233343536373839616263646566"},
		"an agent id appears": {greeting("b", ""), greeting("b", oneAgent), "agent id 30313233343536373839616263646566, want (none)"},
		"an agent id is gone": {greeting("b", oneAgent), greeting("b", ""), "agent id (none), want 30313233343536373839616263646566"},
		"a boot id is gone":   {greeting("b", oneAgent), greeting("", oneAgent), "boot id (none), want b"},
	} {
		t.Run(name, func(t *testing.T) {
			var arrived atomic.Int32
			p, _ := fakePool(t, soon(), func(dial int, g *guest) {
				if dial == 1 {
					g.refuse(x.before, wire.ShuttingDown)
					return
				}
				g.offend(x.after)
				for {
					m, err := wire.Read(g.in)
					if err != nil {
						return
					}
					if e, ok := m.(*wire.Exec); ok {
						arrived.Add(1)
						g.offend(&wire.Started{Head: wire.Head{ID: e.ID}, PID: 42})
						g.offend(exited(e, 0))
					}
				}
			})
			err := get(t, p, "vm").Command("true").Run()
			if x.why == "" {
				if s := p.Stats(); err != nil || arrived.Load() != 1 || s.Retries != 1 {
					t.Errorf("Run = %v, %d arrived, %d retries; want success over the other connection", err, arrived.Load(), s.Retries)
				}
				return
			}
			wantKind(t, err, client.ShuttingDown)
			want := "going down; a different agent answered at vm: " + x.why
			if !errors.Is(err, client.ErrAnotherAgent) || err.Error() != want {
				t.Errorf("Run = %v, want %s", err, want)
			}
			if s := p.Stats(); arrived.Load() != 0 || s.Retries != 0 {
				t.Errorf("%d commands arrived at another agent, %d retries; want none", arrived.Load(), s.Retries)
			}
			// A command after another Get is for the new agent.
			if err := get(t, p, "vm").Command("true").Run(); err != nil {
				t.Errorf("Run after Get = %v", err)
			}
		})
	}
}

func TestPoolDialsNoGuestOverAnotherAgent(t *testing.T) {
	p, _ := fakePool(t, soon(), func(dial int, g *guest) {
		if dial == 1 {
			g.refuse(greeting("b", oneAgent), wire.ShuttingDown)
			return
		}
		g.refuse(greeting("b", otherAgent), wire.NotFound)
	})
	_, err := get(t, p, "vm").DialGuest(patiently(t), "tcp", "localhost:80")
	wantKind(t, err, client.ShuttingDown)
	if !errors.Is(err, client.ErrAnotherAgent) {
		t.Errorf("DialGuest = %v, want ErrAnotherAgent", err)
	}
}

func TestPoolRetriesOverNoVersion1(t *testing.T) {
	g := startGuest(t, 2)
	v := startVMM(t, strings.TrimPrefix(g.target, "unix://"))
	p := newPool(t, client.PoolConfig{})
	c := get(t, p, v.Target)
	v.Cut()
	<-c.Done()
	g.upgrade(1)
	err := c.Command("true").Run()
	if !errors.Is(err, client.ErrLost) || !errors.Is(err, client.ErrAnotherAgent) || !strings.Contains(err.Error(), "version 1") {
		t.Errorf("Run = %v, want ErrLost and ErrAnotherAgent", err)
	}
	if _, commands := g.counts(); commands != 0 {
		t.Errorf("%d commands of version 1, want 0", commands)
	}
}
