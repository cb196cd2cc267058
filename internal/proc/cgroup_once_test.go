//go:build linux

package proc_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/loadtest"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// own is a shell's cgroup.
func own(t *testing.T) string {
	t.Helper()
	top := strings.TrimSuffix(ownCgroup(), "/")
	membership, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(membership)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			top = strings.TrimSuffix(top, strings.TrimSuffix(path, "/"))
		}
	}
	return "own=" + top + "$(sed -n s/^0:://p /proc/self/cgroup) || exit 90\n"
}

// wantPlain runs a command and checks that nothing of an earlier one's cgroup is in its own.
func wantPlain(t *testing.T, s *proc.Spawner) {
	t.Helper()
	got := output(t, s, proc.Spec{Argv: shell(own(t) + `cd $own || exit
echo frozen $(cat cgroup.freeze), descendants $(cat cgroup.max.descendants), owner $(stat -c %u .)
ls -d */ 2>/dev/null; true`)})
	if want := fmt.Sprintf("frozen 0, descendants max, owner %d\n", os.Geteuid()); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestCgroupFrozenByACommandIsNotReused(t *testing.T) {
	s := newCgroupSpawner(t)
	for range 2 * readyCgroups {
		c := start(t, s, proc.Spec{Argv: shell(own(t) + "echo 1 >$own/cgroup.freeze; sleep 1000")})
		c.Terminate(0)
		if r := c.finish(t); r.SignalName != "KILL" {
			t.Errorf("got %+v", r.Exit)
		}
		wantPlain(t, s)
	}
	onlyReadyOnes(t)
}

func TestCommandsCgroupAttributesAreNotReused(t *testing.T) {
	s := newCgroupSpawner(t)
	for range 2 * readyCgroups {
		script := own(t) + "mkdir $own/mine && echo 1 >$own/cgroup.max.descendants"
		if os.Geteuid() == 0 {
			script += " && chown -R 65534 $own"
		}
		if r := run(t, s, proc.Spec{Argv: shell(script)}); r.Code != 0 {
			t.Fatalf("got %+v", r.Exit)
		}
		wantPlain(t, s)
	}
	onlyReadyOnes(t)
}

func TestCommandAfterOneThatKilledItsCgroupLives(t *testing.T) {
	s := newCgroupSpawner(t)
	for range readyCgroups {
		c := start(t, s, proc.Spec{Argv: shell(own(t) + "echo 1 >$own/cgroup.kill; sleep 1000")})
		if r := c.finish(t); r.SignalName != "KILL" {
			t.Errorf("got %+v", r.Exit)
		}
		wantPlain(t, s)
	}
}

func TestCgroupsBelowACommandsOwnAreRemovedWithIt(t *testing.T) {
	s := newCgroupSpawner(t)
	for range 25 {
		c := ready(t, s, own(t)+"mkdir -p $own/a/b $own/c && sleep 1000 & echo $! >$own/a/b/cgroup.procs; echo ready; wait", 1)
		c.Terminate(0)
		c.finish(t)
	}
	onlyReadyOnes(t)
}

// A daemon keeps its cgroup, and nothing else does.
func TestCgroupIsRemovedOnceItsDaemonHasEnded(t *testing.T) {
	s := newCgroupSpawner(t)
	dir := strings.TrimSpace(output(t, s, proc.Spec{Argv: shell(own(t) + "mkdir $own/below; setsid sleep 1000 >/dev/null 2>&1 & echo $own")}))
	kill := func() error { return os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0) }
	t.Cleanup(func() { _ = kill() }) // it may have gone
	wantPlain(t, s)
	if _, err := os.Stat(dir); err != nil {
		t.Fatal("the daemon's cgroup:", err)
	}
	if err := kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its cgroup is removed", func() bool { _, err := os.Stat(dir); return err != nil })
}

func TestThousandCommandsLeaveNoCgroup(t *testing.T) {
	loadtest.Heavy(t)
	s := newCgroupSpawner(t)
	for i := range 1000 {
		if r := run(t, s, proc.Spec{Argv: []string{"/bin/true"}}); r.Code != 0 {
			t.Fatalf("command %d: %+v", i, r.Exit)
		}
	}
	onlyReadyOnes(t)
}
