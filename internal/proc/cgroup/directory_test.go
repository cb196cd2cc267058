//go:build linux

package cgroup_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc/cgroup"
)

// openPool is what an agent does that starts. The end of the test closes the pool.
func openPool(t *testing.T) *cgroup.Pool {
	t.Helper()
	p, err := cgroup.Open(func(int) {})
	if err != nil {
		t.Skipf("no cgroups of our own: %v", err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("close the pool: %v", err)
		}
	})
	return p
}

func takeGroup(t *testing.T, p *cgroup.Pool) *cgroup.Group {
	t.Helper()
	g, err := p.Take(cgroup.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Give(g) })
	return g
}

// home is where agents make their directories.
func home(t *testing.T) string {
	t.Helper()
	return filepath.Dir(filepath.Dir(takeGroup(t, openPool(t)).Path()))
}

// directoryOf makes a directory as an agent that had this pid has left it, or has it, if
// locked.
func directoryOf(t *testing.T, pid int, locked bool) string {
	t.Helper()
	dir := filepath.Join(home(t), fmt.Sprintf("cocoon-agent.%d", pid))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = os.Remove(filepath.Join(dir, "exec-1")), os.Remove(dir) })
	if locked {
		lock, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = lock.Close() })
		if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "exec-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestDirectoryOfADeadAgentIsRemoved(t *testing.T) {
	left := directoryOf(t, os.Getppid(), false)
	openPool(t)
	if there(left) {
		t.Errorf("%s is still there", left)
	}
}

func TestDirectoryOfALiveAgentIsKept(t *testing.T) {
	others := directoryOf(t, 1<<22+1, true) // no pid is above 1<<22
	openPool(t)
	if !there(filepath.Join(others, "exec-1")) {
		t.Error("it was removed")
	}
}

// As two agents do that are process 1, each of a PID namespace of its own.
func TestAgentsWithEqualPidsHaveOwnDirectories(t *testing.T) {
	where := make(map[string]bool)
	for range 2 { // the first still has what it has made when the second begins
		g := takeGroup(t, openPool(t))
		cat := exec.Command("cat", "/proc/self/cgroup")
		cat.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: g.FD()}
		out, err := cat.Output()
		if err != nil {
			t.Fatal(err)
		}
		where[string(out)] = true
	}
	if len(where) != 2 {
		t.Errorf("both have run commands in %v", where)
	}
}

// Early versions took no lock: nothing proves that such an agent is dead.
func TestDirectoryOfAnEarlyVersionIsLeftAlone(t *testing.T) {
	early := filepath.Join(home(t), "cocoon-agent-1")
	own := filepath.Join(early, "exec-1")
	if err := errors.Join(os.Mkdir(early, 0o755), os.Mkdir(own, 0o755)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = os.Remove(own), os.Remove(early) })
	openPool(t)
	if !there(own) {
		t.Error("it was removed")
	}
}

// A command may have made cgroups of its own.
func TestTreesOfADeadAgentAreRemovedWhole(t *testing.T) {
	left := directoryOf(t, 1<<22+3, false)
	if err := os.MkdirAll(filepath.Join(left, "exec-1", "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	openPool(t)
	if there(left) {
		t.Errorf("%s is still there", left)
	}
}

func TestDaemonThatAnAgentHasLeftKeepsItsCgroup(t *testing.T) {
	daemon := exec.Command("sleep", "1000")
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() {
		_ = daemon.Process.Kill()
		_ = daemon.Wait()
	}
	defer end()
	left := directoryOf(t, 1<<22+2, false)
	if err := os.WriteFile(filepath.Join(left, "exec-1", "cgroup.procs"), fmt.Append(nil, daemon.Process.Pid), 0); err != nil {
		t.Fatal(err)
	}
	openPool(t)
	if !there(filepath.Join(left, "exec-1")) || !alive(daemon.Process.Pid) {
		t.Error("the daemon, or its cgroup, is gone")
	}
	end()
	openPool(t)
	if there(left) {
		t.Errorf("%s is still there, though nobody is in it", left)
	}
}

// alive says whether a child runs.
func alive(pid int) bool {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return !errors.Is(err, unix.ECHILD) && info.Signo == 0
}
