//go:build linux

package proc_test

import (
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// exited is an Exit without what differs from run to run.
func exited(e proc.Exit) proc.Exit {
	e.UserTime, e.SystemTime, e.MaxRSS = 0, 0, 0
	return e
}

func TestReapReportsTheExitCode(t *testing.T) {
	s := newSpawner(t)
	for _, code := range []int{0, 1, 7, 126, 127, 128, 255} {
		got := run(t, s, proc.Spec{Argv: shell("exit " + strconv.Itoa(code))})
		if want := (proc.Exit{Code: code}); exited(got.Exit) != want {
			t.Errorf("exit %d: got %+v", code, got.Exit)
		}
	}
}

func TestReapReportsTheSignalThatEndedTheProcess(t *testing.T) {
	s := newSpawner(t)
	for _, test := range []struct {
		sig  syscall.Signal
		name proc.Signal
	}{
		{unix.SIGHUP, "HUP"},
		{unix.SIGINT, "INT"},
		{unix.SIGKILL, "KILL"},
		{unix.SIGUSR1, "USR1"},
		{unix.SIGPIPE, "PIPE"},
		{unix.SIGTERM, "TERM"},
		{syscall.Signal(34), "34"},
		{syscall.Signal(64), "64"},
	} {
		t.Run(string(test.name), func(t *testing.T) {
			c := start(t, s, proc.Spec{Argv: []string{"sleep", "1000"}})
			if err := c.Signal(test.name); err != nil {
				t.Fatal(err)
			}
			want := proc.Exit{Code: -1, Signal: int(test.sig), SignalName: string(test.name)}
			if got := c.finish(t); exited(got.Exit) != want {
				t.Errorf("got %+v, want %+v", got.Exit, want)
			}
		})
	}
}

func TestReapReportsACoreDump(t *testing.T) {
	s := newSpawner(t)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil || limit.Max != unix.RLIM_INFINITY {
		t.Skipf("a core may have at most %d bytes here (%v)", limit.Max, err)
	}
	for _, test := range []struct {
		limit  string
		dumped bool
	}{{"unlimited", true}, {"0", false}} {
		t.Run("limit="+test.limit, func(t *testing.T) {
			got := run(t, s, proc.Spec{
				Argv: shell("ulimit -c " + test.limit + "; kill -ABRT $$"),
				Dir:  t.TempDir(),
			})
			if test.dumped && !got.CoreDumped {
				t.Skip("the kernel writes no core into a test's directory here")
			}
			want := proc.Exit{Code: -1, Signal: int(unix.SIGABRT), SignalName: "ABRT", CoreDumped: test.dumped}
			if exited(got.Exit) != want {
				t.Errorf("got %+v, want %+v", got.Exit, want)
			}
		})
	}
}

func TestReapReportsUsageOfProcessAndChildren(t *testing.T) {
	s := newSpawner(t)
	const script = `i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done`
	for name, script := range map[string]string{
		"process": script,
		"child":   `/bin/sh -c '` + script + `'; exit 0`,
	} {
		got := run(t, s, proc.Spec{Argv: shell(script)})
		if total := got.UserTime + got.SystemTime; total < 10*time.Millisecond || total > patience {
			t.Errorf("%s: time %v", name, total)
		}
		if got.MaxRSS < 256<<10 || got.MaxRSS > 1<<40 {
			t.Errorf("%s: MaxRSS %d bytes", name, got.MaxRSS)
		}
	}
}
