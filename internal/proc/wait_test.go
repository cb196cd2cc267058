//go:build linux

package proc_test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/loadtest"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

func threads(tb testing.TB) int {
	tb.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		tb.Fatal(err)
	}
	return len(tasks)
}

func TestSleepingProcessesCostNoThreads(t *testing.T) {
	loadtest.Heavy(t)
	const count, allowed = 300, 60
	s := newSpawner(t)
	before := threads(t)
	var children []*child
	ended := make(chan error, count)
	for range count {
		c := start(t, s, proc.Spec{Argv: []string{"sleep", "1000"}, Stdout: true})
		c.finished = true
		children = append(children, c)
		go func() { ended <- c.Wait() }() // ended by Signal, below
	}
	if now := threads(t); now > before+allowed {
		t.Errorf("%d threads have become %d", before, now)
	}
	for _, c := range children {
		if err := unix.Kill(c.PID(), unix.SIGTERM); err != nil { // Signal looks at all processes
			t.Error(err)
		}
	}
	for range count {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	for _, c := range children {
		c.copying.Wait()
		if exit, err := c.Reap(); err != nil || exit.SignalName != "TERM" {
			t.Errorf("Reap = %+v, %v, want signal TERM", exit, err)
		}
	}
}

func TestWaitWorksWithoutAPidfdThatCanBePolled(t *testing.T) {
	s := newSpawner(t)
	for _, name := range []string{"no pidfd", "no poller"} {
		t.Run(name, func(t *testing.T) {
			c := start(t, s, proc.Spec{Argv: shell("sleep 0.05; exit 7")})
			var instead *os.File
			if name == "no poller" {
				instead, _ = os.Open("/etc/passwd")
			}
			proc.SetPidfd(c.Process, instead)
			if got := c.finish(t); got.Code != 7 {
				t.Errorf("got %+v", got.Exit)
			}
		})
	}
}

func TestWaitReturnsAtOnceAfterTheExit(t *testing.T) {
	c := start(t, newSpawner(t), proc.Spec{Argv: shell("exit 3")})
	eventually(t, "a zombie", func() bool { return statOf(c.PID()).state == "Z" })
	if got := c.finish(t); got.Code != 3 {
		t.Errorf("got %+v", got.Exit)
	}
}

func TestZombieIsKeptUntilReap(t *testing.T) {
	c := start(t, newSpawner(t), proc.Spec{Argv: []string{"/bin/true"}})
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	if s := statOf(c.PID()); s.state != "Z" {
		t.Errorf("after Wait: %+v", s)
	}
	c.finished = true
	if _, err := c.Reap(); err != nil {
		t.Error(err)
	}
	if s := statOf(c.PID()); s.parent == os.Getpid() {
		t.Errorf("after Reap: %+v", s)
	}
}
