//go:build linux

package client_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	vmtest "github.com/cocoonstack/cocoon-agent/client/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A paused VM is not dead: later it continues as if nothing had happened.
func TestPoolKeepsTheConnectionToAPausedVM(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	config := soon()
	config.DialTimeout = 20 * time.Millisecond
	p := newPool(t, config)
	var c *client.Client
	agenttest.Eventually(t, "a connection", func() bool { // 20 ms may be too few on a busy machine
		var err error
		c, err = p.Get(patiently(t), v.Target)
		return err == nil
	})
	cmd, talk := talker(t, c)
	talk("before")
	v.Pause()
	agenttest.Eventually(t, "the silence is noticed", func() bool { return p.Stats().ProbeTimeouts > 0 })
	for range 3 {
		if _, err := p.Get(patiently(t), v.Target); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	}
	v.Resume()
	agenttest.Eventually(t, "a connection again", func() bool {
		_, err := p.Get(patiently(t), v.Target)
		return err == nil
	})
	talk("after")
	talk("")
	wantExit(t, cmd.Wait(), 7)
	if s := p.Stats(); s.Stale != 0 || s.ProbeTimeouts == 0 {
		t.Errorf("Stats = %+v, want none stale, and probes that timed out", s)
	}
}

// After a restore a connection may look alive that leads nowhere.
func TestPoolDetectsAConnectionThatOnlyLooksAlive(t *testing.T) {
	for _, how := range []string{"when it is asked for", "by itself, under a command"} {
		t.Run(how, func(t *testing.T) {
			a := agenttest.Start(t)
			v := startVMM(t, a.Path)
			p := newPool(t, soon())
			old := get(t, p, v.Target)
			cmd, talk := talker(t, old)
			talk("before")
			v.Restore()
			if how == "when it is asked for" {
				agenttest.Eventually(t, "silence", func() bool { return get(t, p, v.Target) != old })
			}
			err := cmd.Wait()
			lost, ok := errors.AsType[*client.LostExitError](err)
			if !ok || !errors.Is(err, client.ErrLost) || !strings.Contains(err.Error(), "the VM was probably restored") {
				t.Fatalf("error %v (%T)", err, err)
			}
			if lost.PID != cmd.PID() {
				t.Errorf("process %d, started as %d", lost.PID, cmd.PID())
			}
			if err := say(patiently(t), p, v.Target, "again"); err != nil {
				t.Error(err)
			}
			if s := p.Stats(); s.Stale != 1 {
				t.Errorf("Stats = %+v, want one stale", s)
			}
		})
	}
}

// late is a pool whose connection to a VM that has been paused has been replaced
// by one to a guest that greets, and answers pings once it is awake.
func late(t *testing.T) (*client.Pool, *vmtest.VM, *client.Cmd, func(string), chan struct{}) {
	t.Helper()
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	awake := make(chan struct{})
	first := true
	config := soon()
	config.Dial = func(ctx context.Context, _ string) (net.Conn, error) {
		if first {
			first = false
			vm, err := client.ParseTarget(v.Target)
			if err != nil {
				return nil, err
			}
			return vm.Dial(ctx)
		}
		near, far := socketpair(t)
		go func() { // ends with the connection
			if g, err := newGuest(t, far); err == nil {
				g.offend(&wire.Hello{Min: 2, Max: 2})
				g.answer(awake)
			}
		}()
		return near, nil
	}
	p := newPool(t, config)
	cmd, talk := talker(t, get(t, p, "the VM"))
	v.Pause()
	agenttest.Eventually(t, "another connection", func() bool { return p.Stats().Conns > 1 })
	return p, v, cmd, talk, awake
}

// answer answers the pings that come, once it is awake, but no other request.
func (g *guest) answer(awake <-chan struct{}) {
	for {
		m, err := wire.Read(g.in)
		if err != nil {
			return // its end
		}
		select {
		case <-awake:
		case <-g.mux.Done():
			return
		}
		if ping, ok := m.(*wire.Ping); ok {
			g.offend(&wire.Done{Head: wire.Head{ID: ping.ID}})
		}
	}
}

// A VM may be paused for just so long that its old connection is late.
func TestPoolLetsCommandsFinishOnALateConnection(t *testing.T) {
	p, v, cmd, talk, awake := late(t)
	v.Resume()
	talk("late")
	close(awake)
	talk("still there")
	talk("")
	wantExit(t, cmd.Wait(), 7)
	agenttest.Eventually(t, "the old one, which nobody uses, is closed", func() bool { return p.Stats().Conns == 1 })
	if s := p.Stats(); s.Stale != 0 {
		t.Errorf("Stats = %+v, want none stale", s)
	}
}

// A VM may go on for just so long that it answers a new connection.
func TestPoolKeepsAConnectionIfBothArePaused(t *testing.T) {
	p, v, cmd, talk, _ := late(t)
	// The newer one is silent too, and so replaced, after the first judgement.
	agenttest.Eventually(t, "yet another connection", func() bool { return p.Stats().Dials >= 4 })
	v.Resume()
	talk("late")
	talk("")
	wantExit(t, cmd.Wait(), 7)
	if s := p.Stats(); s.Stale != 0 {
		t.Errorf("Stats = %+v, want none stale", s)
	}
}

// A connection that has been replaced, and is kept for its commands, may die later.
func TestPoolDetectsADeadReplacedConnection(t *testing.T) {
	p, v, cmd, talk, awake := late(t)
	v.Resume()
	talk("late")
	v.Restore()
	close(awake)
	err := cmd.Wait()
	if _, ok := errors.AsType[*client.LostExitError](err); !ok || !strings.Contains(err.Error(), "the VM was probably restored") {
		t.Errorf("error %v (%T)", err, err)
	}
	agenttest.Eventually(t, "it is counted", func() bool { s := p.Stats(); return s.Stale == 1 && s.Conns == 1 })
}

func TestPoolProbesASilentConnectionBeforeReuse(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	config := soon()
	config.ProbeTimeout = agenttest.Patience
	p := newPool(t, config)
	c := get(t, p, v.Target)
	agenttest.Eventually(t, "a probe", func() bool { return get(t, p, v.Target) == c && p.Stats().Probes > 0 })
	if s := p.Stats(); s.Dials != 1 || s.ProbeTimeouts != 0 || v.Connections() != 1 {
		t.Errorf("Stats = %+v and %d connections, want one of each, and no probe that timed out", s, v.Connections())
	}
}
