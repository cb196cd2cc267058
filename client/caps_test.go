//go:build linux

package client_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/loadtest"
	"github.com/cocoonstack/cocoon-agent/internal/session"
)

func TestRunOnAFullAgentIsALimitError(t *testing.T) {
	a := agenttest.StartWith(t, func(c *session.Config) { c.Quotas.Connections = 1 })
	first := connect(t, a.Target)
	if err := first.Ping(patiently(t)); err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(t.Context(), a.Target)
	if err == nil {
		defer c.Close()
		err = c.Command("true").Run()
	}
	wantKind(t, err, client.Limit)
	if _, ok := errors.AsType[*client.MaybeStartedError](err); ok || !errors.Is(err, client.ErrLost) || errors.Is(err, client.ErrNotSpoken) {
		t.Errorf("error %v (%T)", err, err)
	}
	if !strings.Contains(err.Error(), "at most 1 connections") {
		t.Errorf("error %v", err)
	}
	if err := first.Command("true").Run(); err != nil {
		t.Errorf("the one that was there: %v", err)
	}
}

func TestPoolGetOfAFullAgentIsADialError(t *testing.T) {
	a := agenttest.StartWith(t, func(c *session.Config) { c.Quotas.Connections = 1 })
	first := connect(t, a.Target)
	if err := first.Ping(patiently(t)); err != nil {
		t.Fatal(err)
	}
	pool := client.NewPool(client.PoolConfig{})
	defer pool.Close()
	_, err := pool.Get(t.Context(), a.Target)
	wantKind(t, err, client.Limit)
	if _, ok := errors.AsType[*client.DialError](err); !ok {
		t.Errorf("error %v (%T)", err, err)
	}
	_ = first.Close()
	agenttest.Eventually(t, "the pool gets through", func() bool {
		c, err := pool.Get(patiently(t), a.Target)
		return err == nil && c.Command("true").Run() == nil
	})
}

func TestOneConnectionCarries2000Commands(t *testing.T) {
	loadtest.Heavy(t)
	if testing.Short() {
		t.Skip("starts 2,000 processes")
	}
	c, _ := dial(t)
	const commands = 2000
	var all []*client.Cmd
	for range commands {
		cmd := c.Command("sleep", "1000")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = in.Close() })
		cmd.Stdout, cmd.Stderr = new(strings.Builder), new(strings.Builder)
		cmd.WaitDelay = 5 * time.Minute // the exits of so many take their time on a busy machine
		if err := cmd.Start(); err != nil {
			t.Fatal(fmt.Errorf("command %d: %w", len(all), err))
		}
		all = append(all, cmd)
	}
	if err := c.Ping(patiently(t)); err != nil {
		t.Error(err)
	}
	for i, cmd := range all {
		if err := cmd.Kill(); err != nil {
			t.Fatalf("command %d: Kill() = %v", i, err)
		}
	}
	for i, cmd := range all {
		err := cmd.Wait()
		if exit, ok := errors.AsType[*client.ExitError](err); !ok || exit.Signal() != "KILL" {
			t.Fatalf("killed command %d: Wait() = %v, want signal KILL", i, err)
		}
	}
}
