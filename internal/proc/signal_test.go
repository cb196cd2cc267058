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
	for text, want := range map[string]proc.Signal{
		"TERM": "TERM", "SIGTERM": "TERM", "sigterm": "TERM", "Term": "TERM", "15": "TERM",
		"KILL": "KILL", "9": "KILL", "1": "HUP", "34": "34", "64": "64", "WINCH": "WINCH",
		"ABRT": "ABRT", "IO": "IO",
	} {
		if got, err := proc.ParseSignal(text); got != want || err != nil {
			t.Errorf("ParseSignal(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestParseSignalRejectsUnknownNames(t *testing.T) {
	for _, text := range []string{
		"", "0", "-9", "65", "99999999999999999999", "SIG", "SIG9", "SIGSIGTERM", "TERM ", "NOPE", "EXIT", "9.0", "TERM\x00",
	} {
		if got, err := proc.ParseSignal(text); !errors.Is(err, proc.ErrInvalid) {
			t.Errorf("ParseSignal(%q) = %q, %v, want %v", text, got, err, proc.ErrInvalid)
		}
	}
}

func TestParseSignalNamesEveryNumber(t *testing.T) {
	for number := 1; number <= 64; number++ {
		name, err := proc.ParseSignal(strconv.Itoa(number))
		if got := proc.NumberOf(name); got != number || err != nil {
			t.Errorf("ParseSignal(%d) = %q, %v, which is signal %d", number, name, err, got)
		}
		if again, err := proc.ParseSignal(string(name)); again != name || err != nil {
			t.Errorf("ParseSignal(%q) = %q, %v, want the same", name, again, err)
		}
	}
	for number, want := range map[syscall.Signal]proc.Signal{
		unix.SIGHUP: "HUP", unix.SIGKILL: "KILL", unix.SIGABRT: "ABRT", unix.SIGIO: "IO", 34: "34",
	} {
		if got, err := proc.ParseSignal(strconv.Itoa(int(number))); got != want || err != nil {
			t.Errorf("ParseSignal(%d) = %q, %v, want %q", number, got, err, want)
		}
	}
}

func TestSignalReachesTheProcessGroup(t *testing.T) {
	const script = `
		(trap 'echo child; exit' USR1; echo ready; while :; do sleep 0.01; done) &
		trap 'wait; echo parent; exit 5' USR1; echo ready; while :; do sleep 0.01; done`
	c := start(t, newSpawner(t), proc.Spec{Argv: shell(script), Stdout: true})
	c.stdout.await(t, 2)
	if err := c.Signal("USR1"); err != nil {
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
		sig   proc.Signal
		state string
	}{{"STOP", "T"}, {"CONT", "S"}} {
		if err := c.Signal(test.sig); err != nil {
			t.Fatal(err)
		}
		eventually(t, "state "+test.state, func() bool { return statOf(c.PID()).state == test.state })
	}
	if _, err := c.Stdin().CopyFrom(text("\n")); err != nil {
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
		for what, err := range map[string]error{"0": c.SignalNumber(0), "TERM": c.Signal("TERM")} {
			if !errors.Is(err, proc.ErrExited) {
				t.Errorf("%s: signal %s: %v", when, what, err)
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

func TestInvalidSignalIsAnErrorAndHarmless(t *testing.T) {
	c := start(t, newSpawner(t), proc.Spec{Argv: []string{"sleep", "1000"}})
	for _, sig := range []proc.Signal{"", "0", "65", "NOPE"} {
		if err := c.Signal(sig); !errors.Is(err, proc.ErrInvalid) {
			t.Errorf("Signal(%q) = %v, want %v", sig, err, proc.ErrInvalid)
		}
	}
	for _, sig := range []int{-1, 65, 1 << 20} {
		if err := c.SignalNumber(sig); !errors.Is(err, unix.EINVAL) {
			t.Errorf("signal %d: %v", sig, err)
		}
	}
	if err := c.SignalNumber(0); err != nil || !alive(c.PID()) {
		t.Errorf("process %s: %v", strconv.Itoa(c.PID()), err)
	}
}
