//go:build linux

package client_test

import (
	"bufio"
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
)

func TestPoolReplacesAConnectionThatHasEnded(t *testing.T) {
	a := agenttest.Start(t)
	v := startVMM(t, a.Path)
	p := newPool(t, client.PoolConfig{})
	for range 5 {
		old := get(t, p, v.target)
		v.cut()
		<-old.Done()
		if err := say(patiently(t), p, v.target, "again"); err != nil {
			t.Error(err)
		}
	}
}

func TestPoolStartsACommandOverAnotherConnectionIfItCertainlyHasNotStarted(t *testing.T) {
	t.Run("the connection has ended", func(t *testing.T) {
		a := agenttest.Start(t)
		v := startVMM(t, a.Path)
		p := newPool(t, client.PoolConfig{})
		c := get(t, p, v.target)
		v.cut()
		<-c.Done()
		cmd := c.Command("echo", "there")
		if out, err := cmd.Output(); err != nil || string(out) != "there\n" {
			t.Errorf("%q, %v", out, err)
		}
		if s := p.Stats(); s.Retries != 1 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("the agent is shutting down", func(t *testing.T) {
		a, b := agenttest.Start(t), agenttest.Start(t)
		v := startVMM(t, a.Path)
		p := newPool(t, client.PoolConfig{})
		c := get(t, p, v.target)
		stubborn := c.Command("sh", "-c", `trap "echo told" TERM; echo ready; while :; do sleep 0.01; done`)
		stdout, _ := stubborn.StdoutPipe()
		if err := stubborn.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(stdout)
		_, _ = lines.ReadString('\n')
		v.boot(b.Path)
		down := make(chan struct{})
		go func() { defer close(down); a.Shutdown(t) }()
		_, _ = lines.ReadString('\n')
		if err := say(patiently(t), p, v.target, "there"); err != nil {
			t.Error(err)
		}
		if s := p.Stats(); s.Retries != 1 || s.Conns != 2 {
			t.Errorf("%+v", s)
		}
		_, _ = io.Copy(io.Discard, lines)
		if exit := wantExit(t, stubborn.Wait(), 137); exit.Reason() != "shutdown" {
			t.Error(exit)
		}
		<-down
	})
	t.Run("and there is no other", func(t *testing.T) {
		a := agenttest.Start(t)
		v := startVMM(t, a.Path)
		p := newPool(t, client.PoolConfig{})
		c := get(t, p, v.target)
		v.boot("/no/such/agent")
		v.cut()
		<-c.Done()
		err := c.Command("true").Run()
		if !errors.Is(err, client.ErrLost) || !strings.Contains(err.Error(), "nothing listens on that port") {
			t.Error(err)
		}
	})
}

func TestPoolNeverStartsACommandAgainThatMayHaveStarted(t *testing.T) {
	a := agenttest.Start(t)
	file := filepath.Join(t.TempDir(), "runs")
	ran := func() bool { _, err := os.Stat(file); return err == nil }
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
		t.Errorf("%q", runs)
	}
	if s := p.Stats(); s.Retries != 0 || s.Dials != 1 {
		t.Errorf("%+v", s)
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
