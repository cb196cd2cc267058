//go:build linux

package proc_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// If a cgroup that has been killed is used again, Linux 6.18 kills the next process in
// it too.
func TestCommandAfterOneThatWasKilledLives(t *testing.T) {
	s := newCgroupSpawner(t)
	for range 3 {
		c := start(t, s, proc.Spec{Argv: []string{"sleep", "1000"}})
		c.Terminate(0)
		c.finish(t)
		if got := output(t, s, proc.Spec{Argv: []string{"echo", "lives"}}); got != "lives\n" {
			t.Errorf("the next process prints %q, want %q", got, "lives\n")
		}
	}
	onlyReadyOnes(t)
}

// readyCgroups is how many cgroups are made ahead.
const readyCgroups = 8

// onlyReadyOnes waits until no cgroup is left that an exec has had.
func onlyReadyOnes(t *testing.T) {
	t.Helper()
	var dirs []string
	if !poll(func() bool { dirs = execCgroups(t); return len(dirs) <= readyCgroups }) {
		t.Errorf("there are %v", dirs)
	}
}

// execCgroups are those of this process's execs.
func execCgroups(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob(fmt.Sprintf("%s/cocoon-agent.%d/exec-*", ownCgroup(), os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

func TestCgroupThatSomebodyHasRemovedIsReplaced(t *testing.T) {
	s := newCgroupSpawner(t)
	eventually(t, "some are ready", func() bool { return len(execCgroups(t)) == readyCgroups })
	removed := execCgroups(t)
	for _, dir := range removed {
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
	}
	where := output(t, s, proc.Spec{Argv: []string{"sed", "-n", "s,^0::.*/,,p", "/proc/self/cgroup"}})
	for _, dir := range removed {
		if where == filepath.Base(dir)+"\n" {
			t.Errorf("it was in %s", dir)
		}
	}
	if !strings.HasPrefix(where, "exec-") {
		t.Errorf("it was in %q", where)
	}
}

// The kernel may have no more of them: of memory, or by cgroup.max.descendants.
func TestNoMoreCgroupsIsAShortageAndPasses(t *testing.T) {
	s := newCgroupSpawner(t)
	most := filepath.Join(ownDirectory(t), "cgroup.max.descendants")
	write(t, most, "0")
	var err error
	for range readyCgroups + 1 { // those that are ready are used up
		var p *proc.Process
		if p, err = s.Start(proc.Spec{Argv: []string{"true"}}); err != nil {
			break
		}
		(&child{Process: p}).finish(t)
	}
	if !errors.Is(err, proc.ErrResources) || !errors.Is(err, unix.EAGAIN) {
		t.Errorf("got %v", err)
	}
	write(t, most, "max")
	if r := run(t, s, proc.Spec{Argv: []string{"true"}}); r.Code != 0 {
		t.Errorf("afterwards: %+v", r.Exit)
	}
}

func ownDirectory(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("%s/cocoon-agent.%d", ownCgroup(), os.Getpid())
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

func TestCgroupsThatHaveGoneAreDoneWithout(t *testing.T) {
	s := newCgroupSpawner(t)
	eventually(t, "the directory is gone", func() bool {
		for _, dir := range execCgroups(t) {
			_ = os.Remove(dir)
		}
		return errors.Is(os.Remove(ownDirectory(t)), os.ErrNotExist)
	})
	c := ready(t, s, "sleep 1000 & echo ready; wait", 1)
	if !errors.Is(c.NoCgroup(), os.ErrNotExist) {
		t.Errorf("why it has none: %v", c.NoCgroup())
	}
	if notes := c.Notes(); !slices.Equal(notes, []proc.Note{proc.NoteNoCgroup}) {
		t.Errorf("Notes = %q, want %q", notes, proc.NoteNoCgroup)
	}
	c.Terminate(0)
	if r := c.finish(t); r.cut || r.SignalName != "KILL" {
		t.Errorf("got %+v, cut: %v", r.Exit, r.cut)
	}
	if err := os.Mkdir(ownDirectory(t), 0o755); err != nil {
		t.Fatal(err)
	}
	if r := run(t, s, proc.Spec{Argv: []string{"true"}}); r.Code != 0 || len(execCgroups(t)) == 0 {
		t.Errorf("with cgroups again: %+v, %v", r.Exit, execCgroups(t))
	}
}
