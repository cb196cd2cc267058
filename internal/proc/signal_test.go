//go:build linux

package proc_test

import (
	"errors"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

func TestParseSignalTakesNamesAndNumbers(t *testing.T) {
	for text, want := range map[string]syscall.Signal{
		"TERM": unix.SIGTERM, "SIGTERM": unix.SIGTERM, "sigterm": unix.SIGTERM, "Term": unix.SIGTERM,
		"KILL": unix.SIGKILL, "9": unix.SIGKILL, "1": unix.SIGHUP, "64": 64, "WINCH": unix.SIGWINCH,
	} {
		if got, err := proc.ParseSignal(text); got != want || err != nil {
			t.Errorf("%q: got %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestParseSignalRefusesWhatIsNone(t *testing.T) {
	for _, text := range []string{
		"", "0", "-9", "65", "99999999999999999999", "SIG", "SIG9", "SIGSIGTERM", "TERM ", "NOPE", "EXIT", "9.0", "TERM\x00",
	} {
		if got, err := proc.ParseSignal(text); !errors.Is(err, proc.ErrInvalid) {
			t.Errorf("%q: got %d, %v", text, got, err)
		}
	}
}

func TestSignalNameIsWhatParseSignalTakes(t *testing.T) {
	for want := syscall.Signal(1); want <= 64; want++ {
		name := proc.SignalName(want)
		if got, err := proc.ParseSignal(name); got != want || err != nil {
			t.Errorf("%d: its name %q parses as %d, %v", want, name, got, err)
		}
	}
	for sig, want := range map[syscall.Signal]string{
		unix.SIGHUP: "HUP", unix.SIGKILL: "KILL", unix.SIGABRT: "ABRT", unix.SIGIO: "IO", 34: "34",
	} {
		if got := proc.SignalName(sig); got != want {
			t.Errorf("%d: got %q, want %q", sig, got, want)
		}
	}
}

func TestSignalReachesTheProcessGroup(t *testing.T) {
	const script = `
		(trap 'echo child; exit' USR1; echo ready; while :; do sleep 0.01; done) &
		trap 'wait; echo parent; exit 5' USR1; echo ready; while :; do sleep 0.01; done`
	c := start(t, newSpawner(t), proc.Spec{Argv: shell(script), Stdout: true})
	c.stdout.await(t, 2)
	if err := c.Signal(unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	got := c.finish(t)
	if got.stdout != "ready\nready\nchild\nparent\n" || got.Code != 5 {
		t.Errorf("got %+v, %q", got.Exit, got.stdout)
	}
}

func TestSignalStopsAndContinues(t *testing.T) {
	c := start(t, newSpawner(t), proc.Spec{Argv: shell("read line; exit 3"), Stdin: true})
	for _, test := range []struct {
		sig   syscall.Signal
		state string
	}{{unix.SIGSTOP, "T"}, {unix.SIGCONT, "S"}} {
		if err := c.Signal(test.sig); err != nil {
			t.Fatal(err)
		}
		eventually(t, "state "+test.state, func() bool { return statOf(c.PID()).state == test.state })
	}
	if err := c.Stdin().CopyFrom(text("\n")); err != nil {
		t.Error(err)
	}
	if got := c.finish(t); got.Code != 3 {
		t.Errorf("got %+v", got.Exit)
	}
}

func TestSignalAfterTheExitIsErrExited(t *testing.T) {
	c := start(t, newSpawner(t), proc.Spec{Argv: []string{"/bin/true"}})
	eventually(t, "a zombie", func() bool { return statOf(c.PID()).state == "Z" })
	for _, when := range []string{"before Wait", "before Reap", "after Reap"} {
		for _, sig := range []syscall.Signal{0, unix.SIGTERM} {
			if err := c.Signal(sig); !errors.Is(err, proc.ErrExited) {
				t.Errorf("%s: signal %d: %v", when, sig, err)
			}
		}
		switch when {
		case "before Wait":
			if err := c.Wait(); err != nil {
				t.Fatal(err)
			}
		case "before Reap":
			c.finished = true
			if exit, err := c.Reap(); err != nil || exit.Code != 0 {
				t.Errorf("got %+v, %v", exit, err)
			}
		}
	}
}

func TestSignalThatIsNoneIsAnErrorAndDoesNoHarm(t *testing.T) {
	c := start(t, newSpawner(t), proc.Spec{Argv: []string{"sleep", "1000"}})
	for _, sig := range []syscall.Signal{-1, 65, 1 << 20} {
		if err := c.Signal(sig); !errors.Is(err, unix.EINVAL) {
			t.Errorf("signal %d: %v", sig, err)
		}
	}
	if err := c.Signal(0); err != nil || !alive(c.PID()) {
		t.Errorf("process %s: %v", strconv.Itoa(c.PID()), err)
	}
}
