//go:build linux

package proc_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// A stranger is a process that no exec has started, in a session of its own.
type stranger struct{ *exec.Cmd }

func newStranger(tb testing.TB) stranger {
	tb.Helper()
	s := stranger{exec.Command("sleep", "1000")}
	s.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := s.Start(); err != nil {
		tb.Fatal(err)
	}
	return s
}

func (s stranger) end() {
	_ = s.Process.Kill()
	_ = s.Wait()
}

// survives checks that no signal has hit the stranger: sleep dies of each.
func (s stranger) survives(tb testing.TB) {
	tb.Helper()
	if state := statOf(s.Process.Pid).state; !slices.Contains([]string{"S", "R", "D"}, state) {
		tb.Errorf("the stranger, process %d, is in state %q, want S, R or D", s.Process.Pid, state)
	}
}

// newStrangerAt returns one that has a given pid, which must be free.
func newStrangerAt(tb testing.TB, pid int) stranger {
	tb.Helper()
	for range 1000 {
		nextPid(tb, pid)
		s := newStranger(tb)
		if s.Process.Pid == pid {
			tb.Cleanup(s.end)
			return s
		}
		s.end()
	}
	tb.Fatalf("pid %d is not to be had", pid)
	return stranger{}
}

// nextPid has the kernel give away pid next, unless another fork comes first.
func nextPid(tb testing.TB, pid int) {
	tb.Helper()
	err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0)
	if err != nil {
		tb.Skipf("no process can be given a chosen pid: %v", err)
	}
}

// reports is a script that names each signal it gets.
func reports(name string) string {
	var script strings.Builder
	for _, sig := range []string{"HUP", "INT", "QUIT", "USR1", "TERM", "TSTP"} {
		fmt.Fprintf(&script, "trap 'echo %s=%s' %s; ", name, sig, sig)
	}
	return script.String() + "echo " + name + "=ready"
}

var jobSignals = []proc.Signal{"HUP", "INT", "QUIT", "USR1", "TERM", "TSTP"}

// The terminal keeps the number of its foreground group when that has died.
func TestSignalSparesTheGroupsNextOwner(t *testing.T) {
	asRoot(t)
	c := start(t, newSpawner(t), proc.Spec{
		Argv:     shell("bash --norc -mc 'sleep 1000; :'; " + reports("main") + forever),
		Terminal: &proc.Terminal{},
	})
	eventually(t, "sleep is in the foreground", func() bool { return statOf(c.Foreground()).name == "sleep" })
	job := c.Foreground()
	bash := statOf(job).parent
	// Nobody takes the terminal back, and the job's zombie comes here.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) }()
	if err := unix.Kill(bash, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "bash has stopped", func() bool { return statOf(bash).state == "T" })
	kill(t, job)
	kill(t, bash)
	eventually(t, "the job is reaped", func() bool {
		pid, _ := unix.Wait4(job, nil, unix.WNOHANG, nil)
		return pid == job
	})
	c.stdout.awaitText(t, "main=ready")
	s := newStrangerAt(t, job)
	if c.Foreground() != job {
		t.Fatalf("in the foreground is %d, want %d", c.Foreground(), job)
	}
	for _, sig := range jobSignals {
		if err := c.Signal(sig); err != nil {
			t.Errorf("Signal(%v) = %v, want nil", sig, err)
		}
		c.stdout.awaitText(t, "main="+string(sig))
		s.survives(t)
	}
}

// The same without a choice of pids, as any user.
func TestSignalSparesAForeignForegroundGroup(t *testing.T) {
	bothWays(t, func(t *testing.T, spawner *proc.Spawner) {
		s := newStranger(t)
		t.Cleanup(s.end)
		c := start(t, spawner, proc.Spec{Argv: shell(reports("main") + forever), Terminal: &proc.Terminal{}})
		c.stdout.awaitText(t, "main=ready")
		for _, sig := range jobSignals {
			if err := c.SignalJob(s.Process.Pid, sig); err != nil {
				t.Errorf("SignalJob(%v) = %v, want nil", sig, err)
			}
			c.stdout.awaitText(t, "main="+string(sig))
			s.survives(t)
		}
	})
}

func TestSignalReachesTheForegroundJobAlone(t *testing.T) {
	bothWays(t, func(t *testing.T, s *proc.Spawner) {
		c := start(t, s, proc.Spec{
			Argv: []string{"bash", "--norc", "-mc", `sh -c "$BACK" & sh -c "$JOB"; :`},
			// The job forks nothing: TSTP would stop that, and the shell would wait for it.
			Env:      []string{"BACK=" + reports("back") + forever, "JOB=" + reports("job") + "; while :; do :; done"},
			Terminal: &proc.Terminal{},
		})
		c.stdout.awaitText(t, "back=ready")
		c.stdout.awaitText(t, "job=ready")
		for _, sig := range jobSignals {
			if err := c.Signal(sig); err != nil {
				t.Errorf("Signal(%v) = %v, want nil", sig, err)
			}
			c.stdout.awaitText(t, "job="+string(sig))
		}
		if got := strings.Count(c.stdout.String(), "back="); got != 1 {
			t.Errorf("the background job reports %d times, want 1: %q", got, c.stdout)
		}
	})
}

func TestTerminateAfterReapSparesAnotherChild(t *testing.T) {
	asRoot(t)
	s := newSpawner(t)
	c := start(t, s, proc.Spec{Argv: []string{"/bin/true"}})
	c.finish(t)
	other := childAt(t, s, c.PID())
	c.Terminate(0)
	if err := c.Signal("KILL"); !errors.Is(err, proc.ErrExited) {
		t.Errorf("Signal(KILL) = %v, want %v", err, proc.ErrExited)
	}
	if c.Terminated() || !alive(other.PID()) {
		t.Errorf("terminated: %v, the other lives: %v", c.Terminated(), alive(other.PID()))
	}
}

// childAt returns a child that has a given pid, which must be free.
func childAt(tb testing.TB, s *proc.Spawner, pid int) *child {
	tb.Helper()
	for range 1000 {
		nextPid(tb, pid)
		// A search of PATH may take a pid for each directory.
		c := start(tb, s, proc.Spec{Argv: []string{"/bin/sleep", "1000"}})
		if c.PID() == pid {
			return c
		}
		c.Terminate(0)
		c.finish(tb)
	}
	tb.Fatalf("pid %d is not to be had", pid)
	return nil
}

func TestOOMScoreOfAStrangerIsLeftAlone(t *testing.T) {
	c := start(t, newCgroupSpawner(t), proc.Spec{Argv: []string{"sleep", "1000"}})
	s := newStranger(t)
	t.Cleanup(s.end)
	for pid, want := range map[int]string{s.Process.Pid: "300\n", c.PID(): "0\n"} {
		path := fmt.Sprintf("/proc/%d/oom_score_adj", pid)
		write(t, path, "300")
		c.MakeOrdinary(pid, 300)
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("oom_score_adj = %q, %v, want %q", got, err, want)
		}
	}
}
