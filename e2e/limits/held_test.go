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
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// serveAs starts an agent as another user.
func serveAs(t *testing.T, uid uint32) *agent {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, int(uid), int(uid)); err != nil {
		t.Fatal(err)
	}
	target := "unix://" + filepath.Join(dir, "s")
	a := &agent{home: root, Agent: checks.Agent{Program: checks.Program(t), Target: fmt.Sprint(target, "?uid=", uid)}}
	a.Served = checks.ServeAs(t, &syscall.Credential{Uid: uid, Gid: uid}, "--listen", target)
	a.Client = a.Dial(t)
	return a
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

func TestHeldStartsAtTheProcessLimit(t *testing.T) {
	for _, test := range []struct {
		name string
		// serve starts an agent whose starts hang until release is called.
		serve func(t *testing.T) (a *agent, hang func(*client.Cmd), release func())
		limit func(t *testing.T, a *agent, tasks int)
	}{
		{"pids.max, frozen cgroup", serveFrozen, limitCgroup},
		{"RLIMIT_NPROC, FUSE", serveOnMount, limitUser},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, hang, release := test.serve(t)
			// Not a thread more than the agent has by now.
			test.limit(t, a, a.threads(t)+heldStarts+timedStarts)

			ctx, kill := context.WithTimeout(t.Context(), checks.Patience)
			defer kill()
			killed, timed := make(chan error, heldStarts), make(chan error, timedStarts)
			for range heldStarts {
				cmd := a.CommandContext(ctx, "true")
				hang(cmd)
				go func() { killed <- cmd.Start() }() // ends with ctx
			}
			checks.Eventually(t, "all hang", func() bool { return len(a.childPIDs(t)) == heldStarts })
			const timeout = time.Second
			begun := time.Now()
			for range timedStarts {
				cmd := a.command(t, client.Limits{}, "true")
				cmd.Timeout = timeout
				hang(cmd)
				go func() { timed <- cmd.Start() }() // ends with its timeout
			}
			for range timedStarts {
				wantTimeout(t, <-timed)
			}
			if took := time.Since(begun); took < timeout {
				t.Errorf("they ended after %v, before their timeout", took)
			}

			test.limit(t, a, 1)
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
			test.limit(t, a, 1000)
			release()
			if got := a.output(t, client.Limits{}, "echo", "again"); got != "again\n" {
				t.Errorf("afterwards: %q", got)
			}
			stop(t, a)
		})
	}
}

func wantTimeout(t *testing.T, err error) {
	t.Helper()
	exit, ok := errors.AsType[*client.ExitError](err)
	if !ok || exit.Reason() != "timeout" || !strings.Contains(err.Error(), "stuck in ") {
		t.Errorf("a start with a timeout: %v, want an ExitError of reason timeout", err)
	}
}

// serveFrozen starts an agent whose children are in a cgroup that is frozen.
func serveFrozen(t *testing.T) (a *agent, hang func(*client.Cmd), release func()) {
	t.Helper()
	handOn(t, root)
	dir := service(t, root)
	a = serve(t, dir, "agent")
	freeze := func(state string) {
		t.Helper()
		write(t, filepath.Join(dir, "agent", fmt.Sprintf("cocoon-agent.%d", a.Process.Pid), "cgroup.freeze"), state)
	}
	freeze("1")
	return a, func(*client.Cmd) {}, func() { freeze("0") }
}

func limitCgroup(t *testing.T, a *agent, tasks int) {
	t.Helper()
	write(t, filepath.Join(a.home, "pids.max"), strconv.Itoa(tasks))
}

// serveOnMount starts an agent of an ordinary user, whom RLIMIT_NPROC bounds.
func serveOnMount(t *testing.T) (a *agent, hang func(*client.Cmd), release func()) {
	t.Helper()
	m := mount(t)
	m.Stop()
	return serveAs(t, 54321), func(c *client.Cmd) { c.Dir = m.Path() + "/dir" }, m.End
}

func limitUser(t *testing.T, a *agent, tasks int) {
	t.Helper()
	if err := unix.Prlimit(a.Process.Pid, unix.RLIMIT_NPROC, &unix.Rlimit{Cur: uint64(tasks), Max: 1000}, nil); err != nil {
		t.Fatal(err)
	}
}
