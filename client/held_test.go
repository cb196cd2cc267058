//go:build linux

package client_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/hangtest"
)

// dialHeld returns an agent, and a program whose execve hangs there.
func dialHeld(tb testing.TB) (*client.Client, *agenttest.Agent, *hangtest.Program) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("only root can hold an execve")
	}
	p := hangtest.NewProgram(tb)
	c, a := dial(tb)
	if i, err := c.Info(patiently(tb)); err != nil || i.Start == "vfork" {
		tb.Skipf("a start that hangs stops the agent here: %+v, %v", i, err)
	}
	return c, a, p
}

// goesOn wants a connection to be served while a start hangs.
func goesOn(tb testing.TB, c *client.Client) {
	tb.Helper()
	if err := c.Ping(patiently(tb)); err != nil {
		tb.Errorf("Ping: %v", err)
	}
	for range 20 {
		out, err := c.CommandContext(patiently(tb), "echo", "on").Output()
		if string(out) != "on\n" || err != nil {
			tb.Fatalf("a command beside it: %q, %v", out, err)
		}
	}
}

// A pending is a Start that has not returned.
type pending chan error

func startHeld(ctx context.Context, c *client.Client, path string, timeout time.Duration) pending {
	p := make(pending, 1)
	cmd := c.CommandContext(ctx, path)
	cmd.Timeout = timeout
	go func() { p <- cmd.Start() }() // ends with the start
	return p
}

// wantReason wants the Start to end, with an ExitError of a reason.
func (p pending) wantReason(tb testing.TB, reason client.Reason, text string) {
	tb.Helper()
	select {
	case err := <-p:
		exit, ok := errors.AsType[*client.ExitError](err)
		if !ok || exit.Reason() != reason || exit.ExitCode() != -1 || exit.ExitStatus() != 137 || !strings.Contains(err.Error(), text) {
			tb.Errorf("Start = %v, want an ExitError with the reason %s and %q", err, reason, text)
		}
	case <-time.After(agenttest.Patience):
		tb.Fatal("Start does not return")
	}
}

func wantGone(tb testing.TB, pid int) {
	tb.Helper()
	ctx := patiently(tb)
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err == nil; _, err = os.Stat("/proc/" + strconv.Itoa(pid)) {
		select {
		case <-again.C:
		case <-ctx.Done():
			tb.Fatalf("process %d is left", pid)
		}
	}
}

func TestTimeoutEndsAStartThatHangs(t *testing.T) {
	c, _, p := dialHeld(t)
	const timeout = 2 * time.Second
	begun := time.Now()
	start := startHeld(patiently(t), c, p.Path(), timeout)
	pid := p.Await(t)
	goesOn(t, c)
	start.wantReason(t, "timeout", "stuck in execve "+p.Path())
	if took := time.Since(begun); took < timeout {
		t.Errorf("it ended after %v, before its timeout", took)
	}
	wantGone(t, pid)
	goesOn(t, c)
}

func TestKillEndsAStartThatHangs(t *testing.T) {
	c, _, p := dialHeld(t)
	ctx, cancel := context.WithCancel(patiently(t))
	start := startHeld(ctx, c, p.Path(), 0)
	pid := p.Await(t)
	goesOn(t, c)
	cancel()
	if err := <-start; !errors.Is(err, context.Canceled) {
		t.Errorf("Start = %v, want %v", err, context.Canceled)
	}
	wantGone(t, pid)
	goesOn(t, c)
}

func TestDisconnectEndsAStartThatHangs(t *testing.T) {
	c, a, p := dialHeld(t)
	start := startHeld(patiently(t), connect(t, a.Target), p.Path(), 0)
	other := connect(t, a.Target)
	second := startHeld(patiently(t), other, p.Path(), 0)
	pids := []int{p.Await(t), p.Await(t)}
	_ = other.Close()
	if err := <-second; !errors.Is(err, client.ErrLost) {
		t.Errorf("Start = %v, want %v", err, client.ErrLost)
	}
	goesOn(t, c)
	a.Shutdown(t)
	start.wantReason(t, "shutdown", "stuck in execve "+p.Path())
	for _, pid := range pids {
		wantGone(t, pid)
	}
}

// Nobody has the handle of a command that is kept before it has started.
func TestDisconnectEndsAKeptStartThatHangs(t *testing.T) {
	c, a, p := dialHeld(t)
	other := connect(t, a.Target)
	cmd := other.CommandContext(patiently(t), p.Path())
	cmd.Keep = true
	started := make(chan error, 1)
	go func() { started <- cmd.Start() }() // ends with the connection
	pid := p.Await(t)
	_ = other.Close()
	if err := <-started; !errors.Is(err, client.ErrLost) {
		t.Errorf("Start = %v, want %v", err, client.ErrLost)
	}
	wantGone(t, pid)
	goesOn(t, c)
}

func TestStartsThatCannotBeEndedAreLostAndBounded(t *testing.T) {
	const most = 64
	c, _, _ := dialHeld(t)
	m := hangtest.NewMount(t)
	m.Hang()
	inDir := func(ctx context.Context) *client.Cmd {
		cmd := c.CommandContext(ctx, "true")
		cmd.Dir = filepath.Join(m.Path(), "dir")
		return cmd
	}
	timed := inDir(patiently(t))
	timed.Timeout = time.Second
	ended := make(chan error, 1)
	go func() { ended <- timed.Run() }() // ends when the agent gives up
	agenttest.Eventually(t, "a start hangs", func() bool { return m.Hanging() == 1 })
	ctx, cancel := context.WithCancel(patiently(t))
	var others sync.WaitGroup
	for range most - 1 {
		others.Go(func() { _ = inDir(ctx).Run() }) // ends with ctx
	}
	agenttest.Eventually(t, "all hang", func() bool { return m.Hanging() == most })
	goesOn(t, c)
	cancel()
	others.Wait()

	err := <-ended
	lost, ok := errors.AsType[*client.LostExitError](err)
	if !ok || lost.PID < 1 || !strings.Contains(err.Error(), "stuck in chdir "+timed.Dir) {
		t.Fatalf("Run = %v, want a LostExitError that names the directory", err)
	}
	wantStuck(t, c, most)
	err = c.CommandContext(patiently(t), "true").Run()
	wantKind(t, err, client.Limit)
	if !strings.Contains(err.Error(), "64 starts hang and cannot be killed") {
		t.Errorf("one more: %v", err)
	}
	m.End()
	wantGone(t, lost.PID)
	wantStuck(t, c, 0)
	goesOn(t, c)
}

// wantStuck waits until info counts n starts that are stuck.
func wantStuck(tb testing.TB, c *client.Client, n uint64) {
	tb.Helper()
	agenttest.Eventually(tb, fmt.Sprintf("%d starts are stuck", n), func() bool {
		i, err := c.Info(patiently(tb))
		return err == nil && i.StartsStuck == n
	})
}
