//go:build linux

package proc_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

const (
	forever = "; while :; do sleep 0.02; done"
	long    = time.Hour // a grace that nobody waits for
)

// ready starts a script and waits until it has written some lines.
func ready(tb testing.TB, s *proc.Spawner, script string, lines int) *child {
	tb.Helper()
	c := start(tb, s, proc.Spec{Argv: shell(script), Stdout: true})
	c.stdout.await(tb, lines)
	return c
}

func TestTerminateAsksBeforeItKills(t *testing.T) {
	bothWays(t, func(t *testing.T, s *proc.Spawner) {
		c := ready(t, s, "trap 'echo bye; exit 3' TERM; echo ready"+forever, 1)
		c.Terminate(long)
		if got := c.finish(t); got.stdout != "ready\nbye\n" || got.Code != 3 {
			t.Errorf("got %+v, %q", got.Exit, got.stdout)
		}
	})
}

// Many programs take a second SIGTERM for impatience.
func TestTerminateAsksOnce(t *testing.T) {
	bothWays(t, func(t *testing.T, s *proc.Spawner) {
		// While they are busy, they lose no signal to the next one.
		const count = "trap 'echo TERM' TERM; echo ready; while :; do :; done"
		c := ready(t, s, "("+count+") & setsid sh -c \""+count+"\" & "+count, 3)
		c.Terminate(2 * time.Second) // time enough for all three on a busy machine
		got := c.finish(t)
		if n := strings.Count(got.stdout, "TERM"); n != 3 || got.SignalName != "KILL" {
			t.Errorf("3 processes were asked %d times: %+v", n, got.Exit)
		}
	})
}

func TestTerminateKillsWhatIgnoresIt(t *testing.T) {
	for name, test := range map[string]struct{ grace, then time.Duration }{
		"after the grace":       {20 * time.Millisecond, -1},
		"at once":               {0, -1},
		"at a negative grace":   {-1, -1},
		"when it is told again": {long, 0},
	} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, s *proc.Spawner) {
				c := ready(t, s, "trap '' TERM; echo ready"+forever, 1)
				c.Terminate(test.grace)
				if test.then >= 0 {
					c.Terminate(test.then)
				}
				want := proc.Exit{Code: -1, Signal: 9, SignalName: "KILL"}
				if got := c.finish(t); exited(got.Exit) != want || !c.Terminated() {
					t.Errorf("got %+v, terminated: %v", got.Exit, c.Terminated())
				}
			})
		})
	}
}

func TestTerminateWakesAStoppedProcess(t *testing.T) {
	bothWays(t, func(t *testing.T, s *proc.Spawner) {
		// It forks nothing: one whose vfork is stopped before the exec waits for
		// that (D), and does not stop itself.
		c := ready(t, s, "trap 'exit 3' TERM; echo ready; while :; do :; done", 1)
		if err := c.Signal("STOP"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it has stopped", func() bool { return statOf(c.PID()).state == "T" })
		c.Terminate(long)
		if got := c.finish(t); got.Code != 3 {
			t.Errorf("got %+v", got.Exit)
		}
	})
}

func TestTerminateIsSafeAtAnyTime(t *testing.T) {
	bothWays(t, func(t *testing.T, s *proc.Spawner) {
		t.Parallel()
		for i := range 100 {
			c := start(t, s, proc.Spec{Argv: []string{"/bin/true"}, Stdout: true})
			var callers sync.WaitGroup
			for _, grace := range []time.Duration{long, time.Millisecond, 0} {
				callers.Go(func() { c.Terminate(grace) })
				callers.Go(func() { _ = c.Signal("TERM") })
			}
			if i%2 == 0 {
				callers.Wait()
			}
			got := c.finish(t)
			callers.Wait()
			if got.Code != 0 && got.SignalName != "TERM" && got.SignalName != "KILL" {
				t.Errorf("got %+v", got.Exit)
			}
			c.Terminate(0)
			c.Terminate(long)
		}
	})
}

func TestTerminatedSaysWhetherItWas(t *testing.T) {
	c := start(t, newSpawner(t), proc.Spec{Argv: []string{"sleep", "1000"}})
	if c.Terminated() {
		t.Error("before Terminate")
	}
	c.Terminate(long)
	if !c.Terminated() {
		t.Error("after Terminate")
	}
}

func TestTerminatedIsNotTrueOfWhatHadExited(t *testing.T) {
	c := start(t, newSpawner(t), proc.Spec{Argv: shell("exit 3")})
	eventually(t, "a zombie", func() bool { return statOf(c.PID()).state == "Z" })
	c.Terminate(0)
	if got := c.finish(t); got.Code != 3 || c.Terminated() {
		t.Errorf("got %+v, terminated: %v", got.Exit, c.Terminated())
	}
}
