//go:build linux

package proc_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// freezer makes a cgroup of version 1 whose processes can be frozen. SIGKILL does
// not end them then, as it does not end one that is stuck in the kernel.
func freezer(t *testing.T) (freeze func(pid int), thaw func()) {
	t.Helper()
	const mount = "/sys/fs/cgroup/freezer"
	dir := filepath.Join(mount, "proc-test-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skipf("no cgroup v1 freezer to make a process unkillable: %v", err)
	}
	state := filepath.Join(dir, "freezer.state")
	if _, err := os.Stat(state); err != nil {
		_ = os.Remove(dir)
		t.Skipf("no cgroup v1 freezer to make a process unkillable: %v", err)
	}
	thaw = func() { write(t, state, "THAWED") }
	t.Cleanup(func() {
		thaw()
		eventually(t, "the freezer is empty", func() bool { return os.Remove(dir) == nil })
	})
	return func(pid int) {
		write(t, filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid))
		write(t, state, "FROZEN")
		eventually(t, "it is frozen", func() bool {
			text, _ := os.ReadFile(state)
			return strings.TrimSpace(string(text)) == "FROZEN"
		})
	}, thaw
}

func TestWaitGivesUpOnWhatSIGKILLDoesNotEnd(t *testing.T) {
	bothWays(t, func(t *testing.T, s *proc.Spawner) {
		t.Parallel()
		freeze, thaw := freezer(t)
		c := ready(t, s, "echo ready; exec sleep 1000", 1)
		c.finished = true
		freeze(c.PID())
		c.Terminate(0)
		if err := c.Wait(); !errors.Is(err, proc.ErrStuck) {
			t.Errorf("wait: %v", err)
		}
		c.Drain(linger)
		c.copying.Wait()
		if _, err := c.Reap(); !errors.Is(err, proc.ErrStuck) || !c.stdout.cut {
			t.Errorf("reap: %v, cut: %v", err, c.stdout.cut)
		}
		if err := c.Signal("CONT"); err != nil {
			t.Errorf("a signal to what is still there: %v", err)
		}
		if r := run(t, s, proc.Spec{Argv: []string{"true"}}); r.Code != 0 {
			t.Errorf("another: %+v", r.Exit)
		}
		thaw()
		eventually(t, "it is reaped", func() bool { return statOf(c.PID()).state == "" })
		eventually(t, "that is known", func() bool { return errors.Is(c.Signal("CONT"), proc.ErrExited) })
	})
}
