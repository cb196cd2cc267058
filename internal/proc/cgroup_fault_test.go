//go:build linux

package proc_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

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
