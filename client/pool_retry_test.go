//go:build linux

package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func TestPoolReplacesAConnectionThatHasEnded(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	p := newPool(t, client.PoolConfig{})
	for range 5 {
		old := get(t, p, v.Target)
		v.Cut()
		<-old.Done()
		if err := say(patiently(t), p, v.Target, "again"); err != nil {
			t.Error(err)
		}
	}
}

func TestPoolRetriesCommandsThatDidNotStart(t *testing.T) {
	t.Run("the connection has ended", func(t *testing.T) {
		a := agenttest.Start(t)
		v := startVMM(t, a.Path)
		p := newPool(t, client.PoolConfig{})
		c := get(t, p, v.Target)
		v.Cut()
		<-c.Done()
		cmd := c.Command("echo", "there")
		if out, err := cmd.Output(); err != nil || string(out) != "there\n" {
			t.Errorf("Output = %q, %v, want %q", out, err, "there\n")
		}
		if s := p.Stats(); s.Retries != 1 {
			t.Errorf("Stats = %+v, want one retry", s)
		}
	})
	t.Run("the agent is shutting down", func(t *testing.T) {
		hello := greeting("boot", "0123456789abcdef")
		end := make(chan struct{})
		p, _ := fakePool(t, client.PoolConfig{}, func(dial int, g *guest) {
			if dial > 1 {
				g.serve(hello)
				return
			}
			g.send(hello)
			stubborn, _ := g.exec()
			m := g.receive().(*wire.Exec)
			g.send(&wire.Error{Head: wire.Head{ID: m.ID}, Kind: wire.ShuttingDown, Message: "going down"})
			<-end
			x := exited(stubborn, 0)
			x.Code, x.Signal, x.SignalNumber, x.Reason = -1, "KILL", 9, wire.ReasonShutdown
			g.send(x)
		})
		c := get(t, p, "vm")
		stubborn := c.Command("stubborn")
		if err := stubborn.Start(); err != nil {
			t.Fatal(err)
		}
		if err := c.Command("true").Run(); err != nil {
			t.Error(err)
		}
		if s := p.Stats(); s.Retries != 1 || s.Conns != 2 {
			t.Errorf("Stats = %+v, want one retry and two connections", s)
		}
		close(end)
		if exit := wantExit(t, stubborn.Wait(), 137); exit.Reason() != "shutdown" {
			t.Error(exit)
		}
	})
	t.Run("and there is no other", func(t *testing.T) {
		a := agenttest.Start(t)
		v := startVMM(t, a.Path)
		p := newPool(t, client.PoolConfig{})
		c := get(t, p, v.Target)
		v.Boot("/no/such/agent")
		v.Cut()
		<-c.Done()
		err := c.Command("true").Run()
		if !errors.Is(err, client.ErrLost) || !strings.Contains(err.Error(), "nothing listens on that port") {
			t.Error(err)
		}
	})
}

func TestPoolNeverRetriesCommandsThatMayHaveRun(t *testing.T) {
	a := agenttest.Start(t)
	file := filepath.Join(t.TempDir(), "runs")
	ran := func() bool { text, _ := os.ReadFile(file); return len(text) > 0 }
	p := newPool(t, client.PoolConfig{Dial: func(ctx context.Context, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", a.Path)
		return &deafened{Conn: conn, by: "exec-here", until: func() { agenttest.Eventually(t, "the command runs", ran) }}, err
	}})
	err := get(t, p, "the VM").Command("sh", "-c", `echo ran >>"$1"`, "exec-here", file).Run()
	if _, ok := errors.AsType[*client.MaybeStartedError](err); !ok {
		t.Errorf("error %v (%T)", err, err)
	}
	a.Shutdown(t)
	if runs, _ := os.ReadFile(file); string(runs) != "ran\n" {
		t.Errorf("the command has written %q, want %q", runs, "ran\n")
	}
	if s := p.Stats(); s.Retries != 0 || s.Dials != 1 {
		t.Errorf("Stats = %+v, want no retry and one dial", s)
	}
}

// A deafened connection hears nothing once it has said something, and ends.
type deafened struct {
	net.Conn
	by    string
	deaf  atomic.Bool
	until func() // when it ends
}

func (d *deafened) Write(b []byte) (int, error) {
	if strings.Contains(string(b), d.by) {
		d.deaf.Store(true)
	}
	return d.Conn.Write(b)
}

func (d *deafened) Read(b []byte) (int, error) {
	n, err := d.Conn.Read(b)
	if d.deaf.Load() {
		d.until()
		return 0, io.EOF
	}
	return n, err
}
