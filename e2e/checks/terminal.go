//go:build linux

package checks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// A Session is a person at a terminal, on which the program runs.
type Session struct {
	*exec.Cmd
	Screen *Log // all that has been shown

	t        *testing.T
	terminal *os.File // the master
	slave    *os.File // held open, so that its modes can be read after the end
	before   unix.Termios
	typed    int // how much had been shown when the last key was typed
}

// Sit starts cmd on a terminal of 30 rows and 100 columns.
func Sit(t *testing.T, cmd *exec.Cmd) *Session {
	t.Helper()
	return SitWith(t, func(*unix.Termios) {}, cmd)
}

// SitWith is Sit on a terminal whose modes have been changed.
func SitWith(t *testing.T, change func(*unix.Termios), cmd *exec.Cmd) *Session {
	t.Helper()
	s := &Session{Cmd: cmd, Screen: new(Log), t: t}
	var err error
	if s.terminal, s.slave, err = pty.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.slave.Close() })
	modes := s.modes()
	change(&modes)
	if err := unix.IoctlSetTermios(int(s.slave.Fd()), unix.TCSETS, &modes); err != nil {
		t.Fatal(err)
	}
	s.before = s.modes()
	s.Resize(30, 100)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.slave, s.slave, s.slave
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	cmd.Env = append(cmd.Environ(), "TERM=vt100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	shown := make(chan struct{})
	go func() { // ends with the terminal
		defer close(shown)
		buf := make([]byte, 4096)
		for {
			n, err := s.terminal.Read(buf)
			_, _ = s.Screen.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = s.slave.Close()
		<-shown
		_ = s.terminal.Close()
	})
	return s
}

// Interact starts "client -t" with args on a terminal.
func (a Agent) Interact(t *testing.T, args ...string) *Session {
	t.Helper()
	return Sit(t, a.OnTerminal(args...))
}

// OnTerminal is the command "client -t" with args.
func (a Agent) OnTerminal(args ...string) *exec.Cmd {
	return exec.Command(a.Program, append([]string{"client", "--target", a.Target, "-t"}, args...)...)
}

// Type types keys.
func (s *Session) Type(keys string) {
	s.t.Helper()
	s.typed = len(s.Screen.String())
	if _, err := s.terminal.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// See waits until text has been shown since the last key was typed.
func (s *Session) See(text string) {
	s.t.Helper()
	defer func() {
		if s.t.Failed() {
			s.t.Logf("shown: %q", s.Screen)
		}
	}()
	Eventually(s.t, fmt.Sprintf("%q is shown", text), func() bool {
		return strings.Contains(s.Screen.String()[s.typed:], text)
	})
}

// Ask types a command for a shell and waits for its answer, which must not be
// part of what is typed.
func (s *Session) Ask(command, answer string) {
	s.t.Helper()
	s.Type(command + "\r")
	s.See(answer)
}

// Resize changes the terminal's size, as a window's border does. A character has 8 by 16
// pixels.
func (s *Session) Resize(rows, cols uint16) {
	s.t.Helper()
	if err := pty.Setsize(s.terminal, &pty.Winsize{Rows: rows, Cols: cols, X: 8 * cols, Y: 16 * rows}); err != nil {
		s.t.Fatal(err)
	}
}

// Ends waits for the program's end, checks its exit status, and that the
// terminal is as it was.
func (s *Session) Ends(status int) {
	s.t.Helper()
	impatient := time.AfterFunc(Patience, func() { _ = s.Process.Kill() })
	defer impatient.Stop()
	_ = s.Wait()
	if got := s.ProcessState.ExitCode(); got != status {
		s.t.Errorf("exit status %d, want %d; shown: %q", got, status, s.Screen)
	}
	s.Restored()
}

// Restored checks that the terminal is as it was.
func (s *Session) Restored() {
	s.t.Helper()
	if after := s.modes(); after != s.before {
		s.t.Errorf("the terminal's modes are %+v, and were %+v", after, s.before)
	}
}

// Raw waits until the program has made the terminal raw.
func (s *Session) Raw() {
	s.t.Helper()
	Eventually(s.t, "the terminal is raw", func() bool { return s.modes().Lflag&unix.ICANON == 0 })
}

func (s *Session) modes() unix.Termios {
	modes, err := unix.IoctlGetTermios(int(s.slave.Fd()), unix.TCGETS)
	if err != nil {
		s.t.Fatal(err)
	}
	return *modes
}

// Terminals runs the checks of what a person at a terminal does.
func Terminals(t *testing.T, a Agent) {
	t.Helper()
	t.Run("WindowSizeOnStartAndAfterEachResize", a.windowSizes)
	t.Run("JobControl", a.jobControl)
	t.Run("ViWritesAFile", a.vi)
	t.Run("LastByteOfOutput", a.lastByte)
	t.Run("EndOfInputEndsAShell", a.endOfInput)
}

// shell is an interactive shell that shows nothing of its own.
var shell = []string{"--env", "PS1=", "--env", "HISTFILE=", "--", "bash", "--norc", "--noprofile", "-i"}

func (a Agent) windowSizes(t *testing.T) {
	s := a.Interact(t, "--", "sh", "-c", `trap 'stty size' WINCH; trap 'exit 5' INT; stty size; while :; do sleep 0.05; done`)
	s.See("30 100\r\n")
	s.Raw()
	for _, size := range [][2]uint16{{40, 120}, {24, 80}, {50, 132}} {
		s.Resize(size[0], size[1])
		s.See(fmt.Sprintf("%d %d\r\n", size[0], size[1]))
	}
	s.Type("\x03")
	s.Ends(5)
}

func (a Agent) jobControl(t *testing.T) {
	prompting := slices.Clone(shell)
	prompting[1] = "PS1=ready: "
	s := a.Interact(t, prompting...)
	s.Raw()
	s.Ask("sh -c 'echo in $((1+1)); exec sleep 1000'", "in 2\r\n")
	s.Type("\x03")
	s.See("ready: ") // ^C throws away what has been typed, and more that comes soon after its echo
	s.Ask("echo inter=rupted$?", "inter=rupted130")
	// It starts no process: a shell that waits for its vfork child, which ^Z has stopped, does not stop itself.
	s.Ask(`sh -c 'trap "echo con$((1+1))tinued" CONT; echo st$((1+1))arted; while :; do read line; done'`, "st2arted\r\n")
	s.Type("\x1a")
	s.See("Stopped")
	s.Ask("jobs | tr a-z A-Z", "STOPPED")
	s.Ask("fg", "con2tinued\r\n")
	s.Type("\x03")
	s.See("ready: ")
	s.Ask("echo $((40+2))", "42\r\n")
	s.Type("exit 3\r")
	s.Ends(3)
}

func (a Agent) vi(t *testing.T) {
	vi, err := exec.LookPath("vi")
	if program, _ := filepath.EvalSymlinks(vi); err != nil || filepath.Base(program) == "busybox" {
		t.Skip("no vi here, or BusyBox's, which would read the escape and the colon as one key: ", err)
	}
	home := t.TempDir() // vi wants to write there, too
	path := home + "/written"
	s := a.Interact(t, "--env", "HOME="+home, "--", "vi", path)
	s.Raw()
	s.See("written")
	s.Type("ihello from vi\x1b:wq\r")
	s.Ends(0)
	if got, err := os.ReadFile(path); string(got) != "hello from vi\n" {
		t.Errorf("file %q, %v", got, err)
	}
}

func (a Agent) lastByte(t *testing.T) {
	const size = 300_000
	s := a.Interact(t, "--", "sh", "-c", fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x; printf the-end", size))
	s.Ends(0)
	s.See("the-end")
	if got := strings.Count(s.Screen.String(), "x"); got != size {
		t.Errorf("%d of %d bytes", got, size)
	}
}

func (a Agent) endOfInput(t *testing.T) {
	got := a.client(t, strings.NewReader("echo size $(stty size)\n"), append([]string{"-t"}, shell...)...)
	if got.Status != 0 || !strings.Contains(got.Stdout, "size 24 80\r\n") || got.Stderr != "" {
		t.Errorf("%+v", got)
	}
}
