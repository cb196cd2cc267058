//go:build linux

package proc_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/ttymode"
)

// terminal starts a command in a terminal, into which the caller types.
func terminal(t *testing.T, s *proc.Spawner, spec proc.Spec) (*child, func(keys string)) {
	t.Helper()
	if spec.Terminal == nil {
		spec.Terminal = &proc.Terminal{}
	}
	c := start(t, s, spec)
	from, to := io.Pipe()
	typed := make(chan struct{})
	go func() { // ends with the test
		defer close(typed)
		_, _ = c.Stdin().CopyFrom(newSource(from))
	}()
	t.Cleanup(func() { _ = to.CloseWithError(os.ErrClosed); <-typed })
	return c, func(keys string) { _, _ = io.WriteString(to, keys) }
}

func (t *tape) awaitText(tb testing.TB, text string) {
	tb.Helper()
	eventually(tb, fmt.Sprintf("output %q in %q", text, t), func() bool { return strings.Contains(t.String(), text) })
}

func TestTerminalControlsItsOwnSession(t *testing.T) {
	r := run(t, newSpawner(t), proc.Spec{
		Argv:     shell(`tty; tty <&1; tty <&2; tty </dev/tty; ps -o tpgid=,sid=,pid= -p $$ | tr -s ' '; stty size; echo $TERM`),
		Terminal: &proc.Terminal{Size: proc.Size{Rows: 50, Cols: 132}, Term: "vt100"},
	})
	lines := strings.Split(r.stdout, "\r\n")
	if len(lines) != 8 || !strings.HasPrefix(lines[0], "/dev/pts/") || lines[1] != lines[0] || lines[2] != lines[0] || lines[3] != "/dev/tty" {
		t.Fatalf("output %q", r.stdout)
	}
	if ids := strings.Fields(lines[4]); len(ids) != 3 || ids[0] != ids[2] || ids[1] != ids[2] {
		t.Errorf("foreground group, session and pid: %q", lines[4])
	}
	if lines[5] != "50 132" || lines[6] != "vt100" {
		t.Errorf("size %q, TERM %q", lines[5], lines[6])
	}
}

func TestTerminalIsAnXtermOf24RowsAnd80Columns(t *testing.T) {
	r := run(t, newSpawner(t), proc.Spec{Argv: shell("stty size; echo $TERM"), Terminal: &proc.Terminal{}})
	if r.stdout != "24 80\r\nxterm\r\n" {
		t.Errorf("output %q", r.stdout)
	}
}

func TestTerminalHasTheModesOfTheHost(t *testing.T) {
	s := newSpawner(t)
	modes := func(m ttymode.Modes) string {
		t.Helper()
		return run(t, s, proc.Spec{Argv: []string{"stty", "-a"}, Terminal: &proc.Terminal{Modes: m}}).stdout
	}
	for name, test := range map[string]struct {
		modes ttymode.Modes
		want  string
	}{
		"UTF-8, if nothing is said": {nil, " iutf8"},
		"no UTF-8":                  {ttymode.Modes{42: 0}, "-iutf8"},
		"erase by ^H":               {ttymode.Modes{3: 8}, "erase = ^H;"},
		"interrupt by ^X":           {ttymode.Modes{1: 'X' - '@'}, "intr = ^X;"},
		"no suspend":                {ttymode.Modes{10: 255}, "susp = <undef>;"},
		"no key there is":           {ttymode.Modes{1: 256}, "intr = ^C;"},
		"no flow control":           {ttymode.Modes{38: 0}, "-ixon"},
		"no echo":                   {ttymode.Modes{53: 0}, "-echo "},
		"an opcode of no system":    {ttymode.Modes{159: 7}, "erase = ^?;"},
	} {
		if got := modes(test.modes); !strings.Contains(got, test.want) {
			t.Errorf("%s: no %q in %q", name, test.want, got)
		}
	}
}

func TestTERMIsSetWithATerminalOnly(t *testing.T) {
	t.Setenv("TERM", "of-the-agent")
	s := newSpawner(t)
	if got := output(t, s, proc.Spec{Argv: shell("echo ${TERM-unset}")}); got != "unset\n" {
		t.Errorf("without a terminal: %q", got)
	}
	r := run(t, s, proc.Spec{Argv: shell("echo $TERM"), Env: []string{"TERM=asked-for"}, Terminal: &proc.Terminal{Term: "vt100"}})
	if r.stdout != "asked-for\r\n" {
		t.Errorf("with one, and a TERM in the request: %q", r.stdout)
	}
}

func TestResizeTellsTheForegroundJob(t *testing.T) {
	c, _ := terminal(t, newSpawner(t), proc.Spec{Argv: shell(`
		trap 'stty size; n=$((n+1)); [ $n -lt 3 ] || exit 0' WINCH; echo ready
		while :; do sleep 0.01; done`)})
	c.stdout.awaitText(t, "ready")
	for _, size := range [][2]uint16{{30, 90}, {40, 100}, {50, 132}} {
		if err := c.Resize(proc.Size{Rows: size[0], Cols: size[1]}); err != nil {
			t.Fatal(err)
		}
		c.stdout.awaitText(t, fmt.Sprintf("%d %d\r\n", size[0], size[1]))
	}
	for _, size := range [][2]uint16{{0, 80}, {24, 0}} {
		if err := c.Resize(proc.Size{Rows: size[0], Cols: size[1]}); !errors.Is(err, proc.ErrInvalid) {
			t.Errorf("Resize(%v) = %v, want %v", size, err, proc.ErrInvalid)
		}
	}
	if r := c.finish(t); r.Code != 0 {
		t.Errorf("exit %+v", r.Exit)
	}
	if err := c.Resize(proc.Size{Rows: 24, Cols: 80}); !errors.Is(err, proc.ErrExited) {
		t.Errorf("after the end: %v", err)
	}
}

func TestResizeWithoutATerminalIsInvalid(t *testing.T) {
	c := start(t, newSpawner(t), proc.Spec{Argv: shell("read x"), Stdin: true})
	if err := c.Resize(proc.Size{Rows: 24, Cols: 80}); !errors.Is(err, proc.ErrInvalid) {
		t.Errorf("error %v", err)
	}
}

func TestControlCReachesTheForegroundJobOnly(t *testing.T) {
	c, press := terminal(t, newSpawner(t), proc.Spec{Argv: []string{
		"bash", "--norc", "--noprofile", "-i",
	}, Env: []string{"PS1=$ "}})
	press("sleep 1000\n")
	eventually(t, "sleep is in the foreground", func() bool { return statOf(c.Foreground()).name == "sleep" })
	press("\x03")
	press("echo status=$?\n")
	c.stdout.awaitText(t, "status=130")
	press("exit 4\n")
	if r := c.finish(t); r.Code != 4 {
		t.Errorf("exit %+v, output %q", r.Exit, r.stdout)
	}
}

func TestSignalGoesToTheForegroundJob(t *testing.T) {
	c, press := terminal(t, newSpawner(t), proc.Spec{Argv: []string{
		"bash", "--norc", "--noprofile", "-i",
	}, Env: []string{"PS1=$ "}})
	press("sh -c 'trap \"echo job=caught; exit 9\" USR1; echo job=ready; while :; do sleep 0.01; done'\n")
	c.stdout.awaitText(t, "job=ready\r\n")
	if err := c.Signal("USR1"); err != nil {
		t.Fatal(err)
	}
	c.stdout.awaitText(t, "job=caught\r\n")
	press("exit $?\n")
	if r := c.finish(t); r.Code != 9 {
		t.Errorf("exit %+v, output %q", r.Exit, r.stdout)
	}
}

func TestSuspendedJobIsContinued(t *testing.T) {
	c, press := terminal(t, newSpawner(t), proc.Spec{Argv: []string{
		"bash", "--norc", "--noprofile", "-i",
	}, Env: []string{"PS1=$ "}})
	press("cat\n")
	// Not before it is cat: bash's child ignores the key.
	eventually(t, "cat is in the foreground", func() bool { return statOf(c.Foreground()).name == "cat" })
	press("\x1a")
	c.stdout.awaitText(t, "Stopped")
	eventually(t, "bash is in the foreground", func() bool { return c.Foreground() == c.PID() })
	press("fg\n")
	eventually(t, "cat is in the foreground", func() bool { return c.Foreground() != c.PID() })
	press("resumed?\n")
	c.stdout.awaitText(t, "resumed?\r\nresumed?\r\n")
	press("\x04")
	press("exit 3\n")
	if r := c.finish(t); r.Code != 3 {
		t.Errorf("exit %+v, output %q", r.Exit, r.stdout)
	}
}

func TestEndOfInputEndsEveryProgramThatReads(t *testing.T) {
	bash := []string{"bash", "--norc", "--noprofile", "-i"}
	for name, test := range map[string]struct {
		argv  []string
		input string
		want  string
	}{
		"cat":                     {[]string{"cat"}, "line\n", "line\r\nline\r\n"},
		"cat, within a line":      {[]string{"cat"}, "line", "lineline"},
		"nothing typed":           {[]string{"cat"}, "", ""},
		"a shell":                 {[]string{"sh"}, "echo in $((1+1))\n", "in 2\r\n"},
		"a shell that reads keys": {bash, "echo in $((1+1))\n", "in 2\r\n"},
		"cat in a shell":          {bash, "cat\nfor cat\n", "for cat\r\n"},
		"keys after lines":        {shell(`read a; sleep 0.3; stty -icanon min 1; exec bash --norc --noprofile -i`), "a\n", "a\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c := start(t, newSpawner(t), proc.Spec{Argv: test.argv, Env: []string{"PS1=", "HISTFILE="}, Terminal: &proc.Terminal{}})
			fed := make(chan error)
			go func() { fed <- feed(c.Stdin(), text(test.input)) }() // ends with Reap
			r := c.finish(t)
			if err := <-fed; err != nil {
				t.Error(err)
			}
			if !strings.Contains(r.stdout, test.want) || r.Code != 0 {
				t.Errorf("exit %+v, output %q, want %q", r.Exit, r.stdout, test.want)
			}
		})
	}
}

func TestLastOutputOfATerminalIsNotLost(t *testing.T) {
	s := newSpawner(t)
	for i := range 50 {
		r := run(t, s, proc.Spec{Argv: shell(`head -c 100000 /dev/zero | tr '\0' x; printf end`), Terminal: &proc.Terminal{}})
		if len(r.stdout) != 100003 || !strings.HasSuffix(r.stdout, "xend") {
			t.Fatalf("run %d: %d bytes, ending in %q", i, len(r.stdout), r.stdout[max(0, len(r.stdout)-10):])
		}
	}
}

func TestTerminalBelongsToTheUser(t *testing.T) {
	asRoot(t)
	s := newSpawner(t)
	r := run(t, s, proc.Spec{
		Argv: shell(`stat -c %u $(tty); echo written >$(tty)`), User: "65534:65534", Terminal: &proc.Terminal{},
	})
	if r.stdout != "65534\r\nwritten\r\n" || r.Code != 0 {
		t.Errorf("exit %+v, output %q", r.Exit, r.stdout)
	}
}

func TestTerminateHangsUpAnInteractiveShell(t *testing.T) {
	bothWays(t, func(t *testing.T, s *proc.Spawner) {
		c, press := terminal(t, s, proc.Spec{Argv: []string{"bash", "--norc", "--noprofile", "-i"}, Env: []string{"PS1=$ "}})
		press("sleep 1000 &\n")
		press("sleep 1000\n")
		eventually(t, "sleep is in the foreground", func() bool { return statOf(c.Foreground()).name == "sleep" })
		c.Terminate(patience) // bash would ignore a SIGTERM for as long
		if r := c.finish(t); r.Signal != int(unix.SIGHUP) {
			t.Errorf("exit %+v, output %q", r.Exit, r.stdout)
		}
	})
}

func TestBackgroundOutputOnATerminalIsCut(t *testing.T) {
	c := start(t, newSpawner(t), proc.Spec{
		Argv:     shell(`trap '' HUP; sleep 1000 & echo $!`),
		Terminal: &proc.Terminal{},
	})
	r := c.finish(t)
	if !r.cut {
		t.Errorf("exit %+v, output %q: not cut", r.Exit, r.stdout)
	}
	var pid int
	if _, err := fmt.Sscan(r.stdout, &pid); err != nil {
		t.Fatal(err)
	}
	if !alive(pid) {
		t.Error("what it left running is dead")
	}
	kill(t, pid)
}

func TestViWritesAFile(t *testing.T) {
	vi, err := exec.LookPath("vi")
	if program, _ := filepath.EvalSymlinks(vi); err != nil || filepath.Base(program) == "busybox" {
		t.Skip("no vi here, or BusyBox's, which would read the escape and the colon as one key: ", err)
	}
	path := t.TempDir() + "/file"
	c, press := terminal(t, newSpawner(t), proc.Spec{Argv: []string{"vi", path}})
	c.stdout.awaitText(t, "file")
	press("ihello from vi\x1b:wq\r")
	if r := c.finish(t); r.Code != 0 {
		t.Errorf("exit %+v", r.Exit)
	}
	if got, err := os.ReadFile(path); string(got) != "hello from vi\n" {
		t.Errorf("file %q, %v", got, err)
	}
}

// As cat does, which closes its standard streams and then exits.
func TestProcessThatClosesItsTerminalIsNotHungUp(t *testing.T) {
	r := run(t, newSpawner(t), proc.Spec{
		Argv:     shell(`exec <&- >&- 2>&-; sleep 0.1; echo again >/dev/tty; sleep 0.1; exit 7`),
		Terminal: &proc.Terminal{},
	})
	if r.Code != 7 || r.stdout != "again\r\n" {
		t.Errorf("exit %+v, output %q", r.Exit, r.stdout)
	}
}
