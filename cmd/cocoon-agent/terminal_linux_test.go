package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

func TestTerminalsOverAUnixSocket(t *testing.T) {
	checks.Terminals(t, terminalAgent(t))
}

func terminalAgent(t *testing.T) checks.Agent {
	t.Helper()
	target, _ := agent(t)
	t.Setenv(asAgent, "1")
	return checks.Agent{Program: program(t).Path, Target: target}
}

func TestEscapeLeavesASessionThatHangs(t *testing.T) {
	target, guest := agent(t)
	t.Setenv(asAgent, "1")
	s := checks.Agent{Program: program(t).Path, Target: target}.Interact(t, "--", "cat")
	s.Raw()
	s.Type("not ~. this\r")
	s.See("not ~. this\r\nnot ~. this\r\n")
	s.Type("~?")
	s.See("~.  leave the session")
	s.Type("~~. nor this\r")
	s.See("~. nor this\r\n~. nor this\r\n")
	if err := guest.Process.Signal(syscall.SIGSTOP); err != nil { // as a paused VM
		t.Fatal(err)
	}
	s.Type("~.")
	s.Ends(255)
	s.See("left the session")
	if err := guest.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

func TestEscapeNoneIsTheCommands(t *testing.T) {
	s := terminalAgent(t).Interact(t, "--escape", "none", "--", "cat")
	s.Raw()
	s.Type("~.\r")
	s.See("~.\r\n~.\r\n")
	s.Type("\x04")
	s.Ends(0)
}

func TestTerminalIsRestoredHoweverTheSessionEnds(t *testing.T) {
	a := terminalAgent(t)
	t.Run("no such command", func(t *testing.T) {
		a.Interact(t, "--", "no-such-command").Ends(127)
	})
	t.Run("no agent", func(t *testing.T) {
		checks.Agent{Program: a.Program, Target: "unix:///no/such"}.Interact(t, "--", "true").Ends(255)
	})
	t.Run("signal", func(t *testing.T) {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
			s := a.Interact(t, "--", "cat") // bash forgets a SIGHUP that comes shortly before its prompt
			s.Raw()
			if err := s.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			s.Ends(128 + int(syscall.SIGHUP)) // the agent's signal to end a command with a terminal
		}
	})
	t.Run("agent killed", func(t *testing.T) {
		target, guest := agent(t)
		s := checks.Agent{Program: a.Program, Target: target}.Interact(t, "--", "cat")
		s.Raw()
		if err := guest.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		s.Ends(255)
		s.See("exit status of process")
	})
	t.Run("panic", func(t *testing.T) {
		cmd := exec.Command(a.Program)
		cmd.Env = append(os.Environ(), asAgent+"=", asPanicker+"=1")
		s := checks.Sit(t, cmd)
		s.Raw()
		s.Type("x")
		s.Ends(2)
		s.See("panic: test")
	})
}

// As ssh does, the command's terminal begins with the modes of the local one.
func TestTerminalTakesItsModesAndPixelsAlong(t *testing.T) {
	a := terminalAgent(t)
	s := checks.SitWith(t, func(modes *unix.Termios) {
		modes.Cc[unix.VERASE], modes.Cc[unix.VINTR], modes.Cc[unix.VSUSP] = 8, 'X'-'@', 0
		modes.Iflag = modes.Iflag&^unix.IXON | unix.IUTF8
	}, a.OnTerminal("--env", asWindow+"=1", "--env", asAgent+"=", "--", "sh", "-c", `trap "$0" WINCH; stty -a; "$0"; while :; do sleep 0.05; done`, a.Program))
	for _, want := range []string{"intr = ^X;", "erase = ^H;", "susp = <undef>;", "-ixon", " iutf8", "30 rows, 100 columns, 800 x 480 pixels"} {
		s.See(want)
	}
	s.Raw()
	s.Resize(24, 80)
	s.See("24 rows, 80 columns, 640 x 384 pixels")
	s.Type("\x18")
	s.Ends(128 + int(syscall.SIGINT))
}

// asWindow makes the test binary a program that says how large its terminal is.
const asWindow = "COCOON_AGENT_TEST_WINDOW"

func window() {
	w, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ)
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(os.Stdout, "%d rows, %d columns, %d x %d pixels\n", w.Row, w.Col, w.Xpixel, w.Ypixel)
}

// asPanicker makes the test binary a program that panics on a goroutine while
// the terminal is raw, once a key is pressed.
const asPanicker = "COCOON_AGENT_TEST_PANIC"

func panicker() {
	t := openLocalTerminal()
	if err := t.raw(); err != nil {
		panic(err)
	}
	t.guarded(func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		panic("test")
	})
	select {}
}
