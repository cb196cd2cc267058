//go:build linux

package proc_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/loadtest"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// daemon makes itself a session, and its parent dies.
const daemon = `setsid sh -c 'trap "" TERM HUP; echo $$ >&3; while :; do sleep 0.02; done' </dev/null >/dev/null 2>&1 & `

func TestTerminateEndsTheTree(t *testing.T) {
	const stubborn = "trap '' TERM; echo ready" + forever
	for name, script := range map[string]string{
		"children":            "(" + stubborn + ") & (" + stubborn + ") & echo ready; wait",
		"grandchildren":       "((" + stubborn + ") & " + stubborn + ") & echo ready; wait",
		"sessions":            "setsid sh -c \"" + stubborn + "\" & setsid sh -c \"" + stubborn + "\" & echo ready; wait",
		"a dead parent":       "(trap '' TERM; echo ready; (echo ready" + forever + ") & ) & echo ready; wait; wait" + forever,
		"one that has a heir": "(trap 'sh -c \"trap : TERM; while :; do sleep 1; done\" & exit' TERM; echo ready" + forever + ") & echo ready; echo ready" + forever,
	} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, s *proc.Spawner) {
				c := ready(t, s, script, 3)
				c.Terminate(50 * time.Millisecond)
				if got := c.finish(t); got.cut || got.Signal == 0 && got.Code == 0 {
					t.Errorf("got %+v, cut: %v", got.Exit, got.cut)
				}
			})
		})
	}
}

func TestTerminateAtOnceEndsSessions(t *testing.T) {
	bothWays(t, func(t *testing.T, s *proc.Spawner) {
		c := ready(t, s, "setsid sh -c 'echo $$; while :; do sleep 0.02; done' & wait", 1)
		pid := c.stdout.pid(t, 1)
		if group := statOf(pid).group; group != pid {
			t.Fatalf("process %d is in group %d", pid, group)
		}
		c.Terminate(0)
		c.finish(t)
		if alive(pid) {
			t.Error("the session lives")
			kill(t, pid)
		}
	})
}

func TestTerminateEndsDaemonsByTheirCgroup(t *testing.T) {
	c := ready(t, newCgroupSpawner(t), "exec 3>&1; ("+daemon+") "+forever, 1)
	pid := c.stdout.pid(t, 1)
	if s := statOf(pid); s.parent == c.PID() || s.session == c.PID() {
		t.Fatalf("that is no daemon: %+v", s)
	}
	c.Terminate(20 * time.Millisecond)
	c.finish(t)
	if alive(pid) {
		t.Error("the daemon lives")
	}
}

func TestExitLeavesDaemonsAlone(t *testing.T) {
	bothWays(t, func(t *testing.T, s *proc.Spawner) {
		c := ready(t, s, "exec 3>&1; ("+daemon+"); exec >/dev/null; exit 2", 1)
		pid := c.stdout.pid(t, 1)
		defer func() {
			eventually(t, "the daemon's last child has gone", func() bool { return unix.Kill(-pid, 0) != nil })
		}()
		defer kill(t, pid)
		if got := c.finish(t); got.Code != 2 {
			t.Errorf("got %+v", got.Exit)
		}
		c.Terminate(0) // comes too late, and hits nobody
		for range 10 {
			if got := run(t, s, proc.Spec{Argv: []string{"/bin/true"}}); got.Code != 0 {
				t.Errorf("got %+v", got.Exit)
			}
		}
		other := start(t, s, proc.Spec{Argv: []string{"sleep", "1000"}})
		other.Terminate(0)
		other.finish(t)
		if !alive(pid) {
			t.Error("the daemon is dead")
		}
	})
}

func TestTerminateAfterTheExitEndsTheRest(t *testing.T) {
	bothWays(t, func(t *testing.T, s *proc.Spawner) {
		c := ready(t, s, "(trap '' TERM; echo ready"+forever+") & exit 2", 1)
		if err := c.Wait(); err != nil {
			t.Fatal(err)
		}
		c.Terminate(20 * time.Millisecond)
		c.Drain(linger)
		c.copying.Wait()
		c.finished = true
		if exit, err := c.Reap(); err != nil || exit.Code != 2 || c.stdout.cut {
			t.Errorf("%+v, %v, cut: %v", exit, err, c.stdout.cut)
		}
	})
}

func TestTerminateEndsWhatForksAllTheTime(t *testing.T) {
	loadtest.Heavy(t)
	const script = `
		worker() { trap '' TERM HUP INT; while :; do sleep 0.01 & sleep 0.02; done; }
		i=0; while [ $i -lt 20 ]; do worker & i=$((i+1)); done
		echo ready; wait`
	bothWays(t, func(t *testing.T, s *proc.Spawner) {
		c := ready(t, s, script, 1)
		c.Terminate(50 * time.Millisecond)
		ended := make(chan struct{})
		go func() { c.copying.Wait(); close(ended) }() // ends with the last of them, or is cut by finish
		select {
		case <-ended:
		case <-time.After(2 * time.Minute): // an emulated CPU takes one of them
			t.Error("something holds the output")
		}
		c.finish(t)
	})
}

// A login session moves its processes out of the cgroup they were started in.
func TestTerminateEndsProcessesThatLeftTheCgroup(t *testing.T) {
	s := newCgroupSpawner(t)
	const leave = "echo $$ >%s/cgroup.procs; "
	script := fmt.Sprintf("trap '' TERM; (echo ready"+forever+") & "+leave+
		"setsid sh -c 'echo ready"+forever+"' & echo ready"+forever, ownCgroup())
	c := ready(t, s, script, 3)
	membership, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", c.PID()))
	if err != nil || strings.Contains(string(membership), "cocoon-agent") {
		t.Fatalf("it has not left: %v\n%s", err, membership)
	}
	c.Terminate(50 * time.Millisecond)
	if got := c.finish(t); got.SignalName != "KILL" {
		t.Errorf("got %+v", got.Exit)
	}
}
