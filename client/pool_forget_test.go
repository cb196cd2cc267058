//go:build linux

package client_test

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// wantForgotten wants an error that tells of Forget, and of a lost connection.
func wantForgotten(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, client.ErrForgotten) || !errors.Is(err, client.ErrLost) {
		t.Errorf("%s = %v, want an error that wraps ErrForgotten and ErrLost", what, err)
	}
}

func TestPoolForgetClosesTheConnectionsOfAVM(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	p := newPool(t, client.PoolConfig{})
	c := get(t, p, v.Target)
	cmd, talk := talker(t, c)
	talk("hello")
	p.Forget(v.Target)
	if err := c.Command("true").Start(); err == nil {
		t.Error("a command was started over a connection that Forget has closed")
	} else {
		wantForgotten(t, "Start", err)
	}
	err := cmd.Wait()
	if _, ok := errors.AsType[*client.LostExitError](err); !ok {
		t.Errorf("Wait = %v (%T), want a LostExitError", err, err)
	}
	wantForgotten(t, "Wait", err)
	<-c.Done()
	wantForgotten(t, "Err", c.Err())
	if n := v.Connections(); n != 1 {
		t.Errorf("%d connections, want 1: a Client of before reaches none of later", n)
	}
	if err := say(patiently(t), p, v.Target, "anew"); err != nil {
		t.Error(err)
	}
	if s := p.Stats(); s.Forgotten != 1 || s.Retries != 0 || s.Conns != 1 || s.Targets != 1 {
		t.Errorf("Stats = %+v, want 1 forgotten and 1 open", s)
	}
}

func TestPoolForgetClosesRetiredConnections(t *testing.T) {
	p, _, cmd, talk, awake := late(t)
	close(awake)
	_ = talk
	p.Forget("the VM")
	wantForgotten(t, "Wait", cmd.Wait())
	if s := p.Stats(); s.Conns != 0 || s.Forgotten < 2 {
		t.Errorf("Stats = %+v, want 2 forgotten or more, and none open", s)
	}
}

func TestPoolForgetEndsVersion1Commands(t *testing.T) {
	g := startGuest(t, 1)
	p := newPool(t, client.PoolConfig{ProbeAfter: time.Hour})
	c := get(t, p, g.target)
	cmd, talk := talker(t, c)
	talk("hello")
	p.Forget(g.target)
	wantForgotten(t, "Wait", cmd.Wait())
	wantForgotten(t, "Run", c.Command("true").Run())
	if _, commands := g.counts(); commands != 1 {
		t.Errorf("%d commands reached the agent, want 1", commands)
	}
}

func TestPoolForgetKnowsTargetsByAnySpelling(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	p := newPool(t, client.PoolConfig{})
	c := get(t, p, v.Target)
	p.Forget("no target")
	p.Forget("vsock://3")
	if err := c.Ping(patiently(t)); err != nil {
		t.Errorf("Ping = %v after Forget of other targets", err)
	}
	p.Forget(v.Target[:len(v.Target)-len(":1024")])
	wantForgotten(t, "Ping", c.Ping(patiently(t)))
}

func TestPoolForgetEndsAnAttemptUnderWay(t *testing.T) {
	silent := make(chan struct{})
	p, v := fakePool(t, client.PoolConfig{}, func(dial int, g *guest) {
		if dial == 1 {
			close(silent)
			return
		}
		g.serve(greeting("new", ""))
	})
	waiting := make(chan error, 1)
	go func() { // ends by Forget
		_, err := p.Get(patiently(t), "vm")
		waiting <- err
	}()
	<-silent
	p.Forget("vm")
	c := get(t, p, "vm")
	if h, err := c.Hello(patiently(t)); err != nil || h.BootID != "new" {
		t.Errorf("Hello = %+v, %v; want the new VM's", h, err)
	}
	err := <-waiting
	if _, ok := errors.AsType[*client.DialError](err); !ok || !errors.Is(err, client.ErrForgotten) {
		t.Errorf("Get of before = %v (%T), want a DialError that wraps ErrForgotten", err, err)
	}
	if n := v.dials.Load(); n != 2 {
		t.Errorf("%d dials, want 2", n)
	}
}

// An attempt may be over when Forget is called, and not have been handed out.
func TestPoolForgetWhileVerifyRuns(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	first := true
	config := client.PoolConfig{Verify: func(string, client.Hello) error {
		if first {
			first = false
			close(asked)
			<-answer
		}
		return nil
	}}
	p, _ := fakePool(t, config, func(dial int, g *guest) { g.serve(greeting("boot "+strconv.Itoa(dial), "")) })
	waiting := make(chan error, 1)
	go func() { // ends by Forget
		_, err := p.Get(patiently(t), "vm")
		waiting <- err
	}()
	<-asked
	p.Forget("vm")
	close(answer)
	if err := <-waiting; !errors.Is(err, client.ErrForgotten) {
		t.Errorf("Get of before = %v, want ErrForgotten", err)
	}
	if h, err := get(t, p, "vm").Hello(patiently(t)); err != nil || h.BootID != "boot 2" {
		t.Errorf("Hello = %+v, %v; want boot 2", h, err)
	}
}

func TestPoolForgetForgetsTheBackOff(t *testing.T) {
	fail := true
	config := client.PoolConfig{MinBackoff: time.Hour, Verify: func(string, client.Hello) error {
		if fail {
			return errors.New("not yet")
		}
		return nil
	}}
	p, _ := fakePool(t, config, func(_ int, g *guest) { g.serve(greeting("", "")) })
	if _, err := p.Get(patiently(t), "vm"); err == nil {
		t.Fatal("Get succeeds")
	}
	fail = false
	p.Forget("vm")
	get(t, p, "vm")
}

// The pool does not keep targets that nobody asks for. Clients of them are kept.
func TestPoolForgetReachesClientsOfDroppedTargets(t *testing.T) {
	p, v := fakePool(t, client.PoolConfig{IdleTimeout: time.Millisecond}, func(_ int, g *guest) { g.serve(greeting("", "")) })
	c := get(t, p, "vm")
	<-c.Done() // closed as idle
	agenttest.Eventually(t, "the target is dropped", func() bool { return p.Stats().Targets == 0 })
	p.Forget("vm")
	wantForgotten(t, "Run", c.Command("true").Run())
	if n := v.dials.Load(); n != 1 {
		t.Errorf("%d dials, want 1", n)
	}
}

// VMs that say the same of themselves, as clones do, replace one another all the
// time: only Forget tells them apart.
func TestPoolForgetUnderLoadMixesUpNoVMs(t *testing.T) {
	var born, settled atomic.Int64 // VMs: that answer, and whose predecessor is forgotten
	p, _ := fakePool(t, soon(), func(_ int, g *guest) {
		self := strconv.FormatInt(born.Load(), 10) // a VM that is too old only fails
		g.offend(greeting("boot", "0123456789abcdef"))
		for {
			m, err := wire.Read(g.in)
			if err != nil {
				return
			}
			switch m := m.(type) {
			case *wire.Ping:
				g.offend(&wire.Done{Head: wire.Head{ID: m.ID}})
			case *wire.Exec:
				if m.Argv[1] != self {
					t.Errorf("VM %s got a command for VM %s", self, m.Argv[1])
				}
				g.offend(&wire.Started{Head: wire.Head{ID: m.ID}, PID: 42})
				g.offend(exited(m, 0))
			}
		}
	})
	done := make(chan struct{})
	var all sync.WaitGroup
	var ran atomic.Int64
	for range 8 {
		all.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				vm := settled.Load()
				c, err := p.Get(patiently(t), "vm")
				if err != nil || settled.Load() != vm || born.Load() != vm {
					continue
				}
				err = c.CommandContext(context.WithoutCancel(t.Context()), "for", strconv.FormatInt(vm, 10)).Run()
				switch {
				case err == nil:
					ran.Add(1)
				case !errors.Is(err, client.ErrLost):
					t.Errorf("Run = %v, want success or ErrLost", err)
				}
			}
		})
	}
	for range 200 {
		before := ran.Load()
		agenttest.Eventually(t, "a command has run", func() bool { return ran.Load() > before })
		born.Add(1)
		p.Forget("vm")
		settled.Add(1)
	}
	close(done)
	all.Wait()
}
