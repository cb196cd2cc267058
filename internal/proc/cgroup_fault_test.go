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

// Where a cgroup that has been killed is used again, Linux 6.18 kills the next
// process in it too.
func TestCommandAfterOneThatWasKilledLives(t *testing.T) {
	s := newCgroupSpawner(t)
	for range 3 {
		c := start(t, s, proc.Spec{Argv: []string{"sleep", "1000"}})
		c.Terminate(0)
		c.finish(t)
		if got := output(t, s, proc.Spec{Argv: []string{"echo", "lives"}}); got != "lives\n" {
			t.Errorf("%q", got)
		}
	}
	if dirs := execCgroups(t); len(dirs) != 1 {
		t.Errorf("there are %v", dirs)
	}
}

// execCgroups are those of this process's execs.
func execCgroups(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob(fmt.Sprintf("%s/cocoon-agent-%d/exec-*", ownCgroup(), os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

func TestCgroupThatSomebodyHasRemovedIsReplaced(t *testing.T) {
	s := newCgroupSpawner(t)
	a, b := start(t, s, proc.Spec{Argv: []string{"true"}}), start(t, s, proc.Spec{Argv: []string{"true"}})
	a.finish(t)
	b.finish(t)
	for _, dir := range execCgroups(t) {
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
	}
	where := output(t, s, proc.Spec{Argv: []string{"cat", "/proc/self/cgroup"}})
	if dirs := execCgroups(t); len(dirs) != 1 || !strings.Contains(where, filepath.Base(dirs[0])+"\n") {
		t.Errorf("it was in %s, and there are %v", where, dirs)
	}
}

// The kernel may have no more of them: of memory, or by cgroup.max.descendants.
func TestNoMoreCgroupsIsAShortageAndPasses(t *testing.T) {
	s := newCgroupSpawner(t)
	most := filepath.Join(ownFolder(t), "cgroup.max.descendants")
	write(t, most, "0")
	_, err := s.Start(proc.Spec{Argv: []string{"true"}})
	if !errors.Is(err, proc.ErrResources) || !errors.Is(err, unix.EAGAIN) {
		t.Errorf("got %v", err)
	}
	write(t, most, "max")
	if r := run(t, s, proc.Spec{Argv: []string{"true"}}); r.Code != 0 {
		t.Errorf("afterwards: %+v", r.Exit)
	}
}

func ownFolder(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("%s/cocoon-agent-%d", ownCgroup(), os.Getpid())
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

func TestCgroupsThatHaveGoneAreDoneWithout(t *testing.T) {
	s := newCgroupSpawner(t)
	if err := os.Remove(ownFolder(t)); err != nil {
		t.Fatal(err)
	}
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
	if err := os.Mkdir(ownFolder(t), 0o755); err != nil {
		t.Fatal(err)
	}
	if r := run(t, s, proc.Spec{Argv: []string{"true"}}); r.Code != 0 || len(execCgroups(t)) != 1 {
		t.Errorf("with cgroups again: %+v, %v", r.Exit, execCgroups(t))
	}
}
