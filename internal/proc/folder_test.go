//go:build linux

package proc_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// folderOf makes a folder as an agent that had this pid has left it.
func folderOf(t *testing.T, pid int) string {
	t.Helper()
	dir := filepath.Join(ownCgroup(), fmt.Sprintf("cocoon-agent-%d", pid))
	for _, path := range []string{dir, filepath.Join(dir, "exec-1")} {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _, _ = os.Remove(filepath.Join(dir, "exec-1")), os.Remove(dir) })
	return dir
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestFolderOfAnAgentThatWasKilledIsRemovedWhoeverHasItsPidNow(t *testing.T) {
	newCgroupSpawner(t) // or it is skipped
	left := folderOf(t, os.Getppid())
	newCgroupSpawner(t)
	if there(left) {
		t.Errorf("%s is still there", left)
	}
}

func TestFolderOfAnotherAgentIsLeftAloneThoughNobodyHasItsPid(t *testing.T) {
	newCgroupSpawner(t)
	others := folderOf(t, 1<<22+1) // no pid is above 1<<22
	lock, err := os.Open(others)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	newCgroupSpawner(t)
	if !there(filepath.Join(others, "exec-1")) {
		t.Error("it was removed")
	}
}

// As two agents do that are process 1, each of a PID namespace of its own.
func TestAgentsWithTheSamePidHaveFoldersOfTheirOwn(t *testing.T) {
	where := make(map[string]bool)
	for range 2 { // the first still has what it has made when the second begins
		s := newCgroupSpawner(t)
		where[output(t, s, proc.Spec{Argv: []string{"cat", "/proc/self/cgroup"}})] = true
	}
	if len(where) != 2 {
		t.Errorf("both have run commands in %v", where)
	}
}

func TestDaemonThatAnAgentHasLeftKeepsItsCgroup(t *testing.T) {
	s := newCgroupSpawner(t)
	left := folderOf(t, 1<<22+2)
	daemon := start(t, s, proc.Spec{Argv: []string{"sleep", "1000"}})
	if err := os.WriteFile(filepath.Join(left, "exec-1", "cgroup.procs"), fmt.Append(nil, daemon.PID()), 0); err != nil {
		t.Fatal(err)
	}
	newCgroupSpawner(t)
	if !there(filepath.Join(left, "exec-1")) || !alive(daemon.PID()) {
		t.Error("the daemon, or its cgroup, is gone")
	}
	if err := unix.Kill(daemon.PID(), unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		t.Error(err)
	}
	daemon.finish(t)
	newCgroupSpawner(t)
	if there(left) {
		t.Errorf("%s is still there, though nobody is in it", left)
	}
}
