//go:build linux

package proc_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

func TestHangUpIsABrokenPipe(t *testing.T) {
	s := newSpawner(t)
	c := start(t, s, proc.Spec{Argv: shell("trap 'exit 9' PIPE; echo $$; while :; do sleep 0.02; echo x; done"), Stdout: true, Stderr: true})
	c.stdout.pid(t, 1)
	c.Stdout().HangUp()
	if got := c.finish(t); got.Code != 9 || got.cut {
		t.Errorf("%+v, want exit code 9 and no cut", got)
	}
}

// HangUp ends a copy in each of its states.
func TestHangUpWakesACopy(t *testing.T) {
	s := newSpawner(t)
	for name, linger := range map[string]time.Duration{"to the end": 0, "in time": time.Hour} {
		t.Run(name, func(t *testing.T) {
			for range 20 { // HangUp may come at any moment of it
				c := start(t, s, proc.Spec{Argv: shell("setsid sh -c 'echo $$; exec sleep 1000' & exit 8"), Stdout: true})
				daemon := c.stdout.pid(t, 1)
				if err := c.Wait(); err != nil {
					t.Fatal(err)
				}
				go c.Stdout().HangUp()
				c.Drain(linger)
				c.copying.Wait()
				kill(t, daemon)
				c.finished = true
				if exit, err := c.Reap(); err != nil || exit.Code != 8 || c.stdout.cut {
					t.Errorf("%+v, %v, cut %v", exit, err, c.stdout.cut)
				}
			}
		})
	}
}

func TestHangUpLeavesATerminal(t *testing.T) {
	s := newSpawner(t)
	c := start(t, s, proc.Spec{Argv: shell("read line; echo got $line"), Stdin: true, Stdout: true, Terminal: &proc.Terminal{}})
	c.Stdout().HangUp()
	go func() { _, _ = c.Stdin().CopyFrom(strings.NewReader("hello\n")) }() // ends with the process
	if got := c.finish(t); got.Code != 0 || got.stdout != "hello\r\ngot hello\r\n" {
		t.Errorf("output %q, exit %+v, want the greeting and code 0", got.stdout, got.Exit)
	}
}
