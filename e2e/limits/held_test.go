//go:build e2e && linux

package limits_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/e2e/checks"
	"github.com/cocoonstack/cocoon-agent/internal/hangtest"
)

// mount mounts a file system that every user may use, with a server that can stop.
func mount(t *testing.T) *hangtest.Mount {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Fatal(err) // the guest has it
	}
	return hangtest.NewMount(t)
}

// threads is how many threads the agent has.
func (a *agent) threads(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", a.Process.Pid))
	if err != nil {
		t.Fatalf("the agent is gone: %v", err)
	}
	return len(tasks)
}

// childPIDs are the pids of the agent's children.
func (a *agent) childPIDs(t *testing.T) (pids []string) {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", a.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		text, _ := os.ReadFile(list) // the thread may have ended
		pids = append(pids, strings.Fields(string(text))...)
	}
	return pids
}

// mostThreads is how many threads an agent has at most, however many starts hang.
const mostThreads = 24

// heldStarts is how many starts hang at a time until they are killed, and timedStarts
// how many more until their timeout.
const (
	heldStarts  = 256
	timedStarts = 16
)

// The agent and 272 starts that hang are all the processes and threads that its cgroup may
// have.
func TestHeldStartsAtTheProcessLimit(t *testing.T) {
	handOn(t, root)
	dir := service(t, root)
	a := serve(t, dir, "agent")
	freeze := filepath.Join(dir, "agent", fmt.Sprintf("cocoon-agent.%d", a.Process.Pid), "cgroup.freeze")
	pids := filepath.Join(dir, "pids.max")
	write(t, freeze, "1")
	write(t, pids, strconv.Itoa(a.threads(t)+heldStarts+timedStarts))

	ctx, kill := context.WithTimeout(t.Context(), checks.Patience)
	defer kill()
	killed := make(chan error, heldStarts)
	for range heldStarts {
		go func() { killed <- a.CommandContext(ctx, "true").Start() }() // ends with ctx
	}
	checks.Eventually(t, "all hang", func() bool { return len(a.childPIDs(t)) == heldStarts })
	a.wantTimeouts(t, timedStarts)
	write(t, pids, "1")
	wantShortage(t, a.command(t, client.Limits{}, "true").Run(), "resource temporarily unavailable")
	a.lives(t)
	if n := a.threads(t); n > mostThreads {
		t.Errorf("%d threads, want at most %d", n, mostThreads)
	}
	if n := len(a.childPIDs(t)); n != heldStarts {
		t.Errorf("%d children, want %d", n, heldStarts)
	}

	kill()
	for range heldStarts {
		if err := <-killed; !errors.Is(err, context.Canceled) {
			t.Errorf("a start that was killed: %v, want %v", err, context.Canceled)
		}
	}
	checks.Eventually(t, "no child is left", func() bool { return len(a.childPIDs(t)) == 0 })
	write(t, pids, "max")
	write(t, freeze, "0")
	if got := a.output(t, client.Limits{}, "echo", "again"); got != "again\n" {
		t.Errorf("afterwards: %q", got)
	}
	stop(t, a)
}

// wantTimeouts wants so many starts to hang until their timeout.
func (a *agent) wantTimeouts(t *testing.T, starts int) {
	t.Helper()
	const timeout = time.Second
	timed := make(chan error, starts)
	begun := time.Now()
	for range starts {
		cmd := a.command(t, client.Limits{}, "true")
		cmd.Timeout = timeout
		go func() { timed <- cmd.Start() }() // ends with its timeout
	}
	for range starts {
		err := <-timed
		exit, ok := errors.AsType[*client.ExitError](err)
		if !ok || exit.Reason() != "timeout" || !strings.Contains(err.Error(), "stuck in ") {
			t.Errorf("a start with a timeout: %v, want an ExitError of reason timeout", err)
		}
	}
	if took := time.Since(begun); took < timeout {
		t.Errorf("they ended after %v, before their timeout", took)
	}
}
