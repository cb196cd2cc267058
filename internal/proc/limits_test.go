//go:build linux

package proc_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

func TestStartRefusesALimitThatMakesNoSense(t *testing.T) {
	s := newSpawner(t)
	for _, l := range []proc.Limits{
		{Memory: -1},
		{Memory: 1},
		{Memory: 1<<20 - 1},
		{PIDs: -1},
		{PIDs: 4<<20 + 1},
		{PIDs: math.MaxInt64},
		{CPU: -1},
		{CPU: 9},
		{CPU: (1<<44-1)/100 + 1},
		{CPU: math.MaxInt64},
		{Memory: 1 << 30, PIDs: 100, CPU: 1},
	} {
		refused(t, s, proc.Spec{Argv: []string{"/bin/true"}, Limits: l}, proc.ErrInvalid)
	}
}

func TestStartWithoutCgroupsRefusesEveryLimit(t *testing.T) {
	s := newSpawner(t)
	for _, l := range []proc.Limits{
		{Memory: 1 << 20},
		{Memory: math.MaxInt64},
		{PIDs: 1},
		{PIDs: 4 << 20},
		{CPU: 10},
		{CPU: (1<<44 - 1) / 100},
	} {
		refused(t, s, proc.Spec{Argv: []string{"/bin/true"}, Limits: l}, proc.ErrUnsupported)
	}
	_, err := s.Start(proc.Spec{Argv: []string{"/bin/true"}, Limits: proc.Limits{PIDs: 1}})
	if err == nil || !strings.HasPrefix(err.Error(), "cannot set limits: the agent has no cgroups: ") {
		t.Errorf("got %v", err)
	}
}

// limiting skips the test if limits cannot be set, and then checks that they are
// refused with a reason.
func limiting(t *testing.T, s *proc.Spawner, l proc.Limits) {
	t.Helper()
	p, err := s.Start(proc.Spec{Argv: []string{"/bin/true"}, Limits: l})
	if errors.Is(err, proc.ErrUnsupported) {
		if reason, ok := strings.CutPrefix(err.Error(), "cannot set limits: "); !ok || reason == "" {
			t.Fatalf("it does not say why: %v", err)
		}
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = p.Wait()
	if _, err := p.Reap(); err != nil {
		t.Fatal(err)
	}
}

func TestLimitsAreSetWhenStartReturns(t *testing.T) {
	s := newCgroupSpawner(t)
	for _, test := range []struct {
		limits     proc.Limits
		file, want string
	}{
		{proc.Limits{Memory: 1<<30 + 1}, "memory.max", "1073741824\n"}, // whole pages
		{proc.Limits{Memory: math.MaxInt64}, "memory.max", "max\n"},
		{proc.Limits{Memory: 1 << 30}, "memory.oom.group", "1\n"},
		{proc.Limits{PIDs: 4 << 20}, "pids.max", "4194304\n"},
		{proc.Limits{CPU: 10}, "cpu.max", "1000 100000\n"},
		{proc.Limits{CPU: 2500}, "cpu.max", "250000 100000\n"},
		{proc.Limits{CPU: (1<<44 - 1) / 100}, "cpu.max", "17592186044400 100000\n"},
	} {
		t.Run(test.file, func(t *testing.T) {
			limiting(t, s, test.limits)
			c := start(t, s, proc.Spec{Argv: []string{"sleep", "1000"}, Limits: test.limits})
			got, err := os.ReadFile(filepath.Join(cgroupOf(t, c.PID()), test.file))
			if err != nil || string(got) != test.want {
				t.Errorf("%s: %q (%v), want %q", test.file, got, err, test.want)
			}
			c.Terminate(0)
			c.finish(t)
		})
	}
}

// cgroupOf is the directory of the cgroup v2 that a process is in.
func cgroupOf(t *testing.T, pid int) string {
	t.Helper()
	mount := strings.TrimSuffix(ownCgroup(), pathOf(t, os.Getpid()))
	return filepath.Join(mount, pathOf(t, pid))
}

func pathOf(t *testing.T, pid int) string {
	t.Helper()
	membership, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, path, _ := strings.Cut("\n"+string(membership), "\n0::")
	path, _, _ = strings.Cut(path, "\n")
	return strings.TrimSuffix(path, "/")
}

func TestTerminateEndsATreeWithLimits(t *testing.T) {
	s := newCgroupSpawner(t)
	limiting(t, s, proc.Limits{PIDs: 20})
	c := start(t, s, proc.Spec{
		Argv:   shell("exec 3>&1; (" + daemon + ") " + forever),
		Stdout: true,
		Limits: proc.Limits{PIDs: 20},
	})
	pid := c.stdout.pid(t, 1)
	c.Terminate(0)
	if got := c.finish(t); got.Signal != int(unix.SIGKILL) || got.OOMKilled || alive(pid) {
		t.Errorf("got %+v, the daemon is alive: %v", got.Exit, alive(pid))
	}
}
