package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/session"
)

// A logReader is whoever reads an agent's log.
type logReader struct {
	name string
	open func(t *testing.T) (r, w *os.File) // w is the agent's standard error
}

// stoppable are readers that can stop reading: a full pipe, journald, and a
// console under flow control.
func stoppable() []logReader {
	return []logReader{{"pipe", openPipe}, {"socket", openSocket}, {"terminal", openTTY}}
}

func openPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

func openSocket(t *testing.T) (r, w *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fds[0]), "reader"), os.NewFile(uintptr(fds[1]), "log")
}

func openTTY(t *testing.T) (r, w *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals: ", err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave, err := unix.IoctlRetInt(int(master.Fd()), unix.TIOCGPTPEER)
	if err != nil || slave < 0 {
		t.Skip("no TIOCGPTPEER: ", err)
	}
	return master, os.NewFile(uintptr(slave), "log")
}

// loggingTo starts an agent that logs to w, and returns when it listens and
// nobody reads its log any more.
func loggingTo(t *testing.T, r, w *os.File, flags ...string) (target string, cmd *exec.Cmd) {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir); _ = r.Close() })
	target = "unix://" + dir + "/s"
	cmd = program(t, append([]string{"serve", "--listen", target}, flags...)...)
	cmd.Stderr = w
	start(t, cmd)
	_ = w.Close()
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Fatalf("the agent does not listen: %v", err)
		}
		if strings.Contains(line, "listening") {
			return target, cmd
		}
	}
}

func dialed(t *testing.T, target string) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Nothing that hosts or an operator want of the agent waits for its log.
func TestStuckLogHoldsUpNothing(t *testing.T) {
	for _, reader := range stoppable() {
		t.Run(reader.name, func(t *testing.T) {
			r, w := reader.open(t)
			target, agent := loggingTo(t, r, w)
			c := dialed(t, target)
			for i := range 600 { // records of half a megabyte
				if err := within(t, "a command", c.Command("true").Run); err != nil {
					t.Fatalf("command %d: %v", i, err)
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			endsInTime(t, c)
			if err := c.Ping(ctx); err != nil {
				t.Error(err)
			}
			if err := agent.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := within(t, "the agent's end after SIGTERM", agent.Wait); err != nil {
				t.Errorf("the agent ended with %v, want exit status 0", err)
			}
		})
	}
}

// endsInTime runs commands that the agent ends: by a signal, and by their time.
func endsInTime(t *testing.T, c *client.Client) {
	t.Helper()
	sleeper := c.Command("sleep", "1000")
	sleeper.Timeout = 50 * time.Millisecond
	err := within(t, "the end of a command by its timeout", sleeper.Run)
	if exit, ok := errors.AsType[*client.ExitError](err); !ok || exit.Reason() != "timeout" {
		t.Errorf("a command with a timeout: %v, want an ExitError of reason timeout", err)
	}
	sleeper = c.Command("sleep", "1000")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	if err := within(t, "a signal", func() error { return sleeper.Signal(syscall.SIGUSR1) }); err != nil {
		t.Error(err)
	}
	err = within(t, "the end of a command by a signal", sleeper.Wait)
	if exit, ok := errors.AsType[*client.ExitError](err); !ok || exit.Signal() != "USR1" {
		t.Errorf("a command that was sent USR1: %v, want an ExitError of that signal", err)
	}
}

func within(t *testing.T, what string, do func() error) error {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-time.After(patience):
		t.Fatalf("never: %s", what)
		return nil
	}
}

// With --audit strict no command runs that the log cannot have, and all is well
// again when the log is read.
func TestStrictAuditRefusesWhatItCannotRecord(t *testing.T) {
	r, w := openPipe(t)
	target, _ := loggingTo(t, r, w, "--audit", "strict")
	c := dialed(t, target)
	marker := filepath.Join(t.TempDir(), "ran")
	var refusal error
	for range 600 {
		if refusal = c.Command("true").Run(); refusal != nil {
			break
		}
	}
	if remote, ok := errors.AsType[*client.RemoteError](refusal); !ok || remote.Kind != client.Limit || !strings.Contains(remote.Message, "audit record") {
		t.Fatalf("commands with a log that nobody reads: %v, want a RemoteError of kind limit", refusal)
	}
	if err := c.Command("touch", marker).Run(); err == nil {
		t.Error("a command has run that was not recorded")
	}
	if _, err := os.Stat(marker); err == nil {
		t.Error("a command that was refused has run")
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	go func() { _, _ = io.Copy(io.Discard, r) }() // ends with the agent
	eventually(t, "a command runs again", func() bool { return c.Command("true").Run() == nil })
}

// A record that was lost is not taken for written when the log works again.
func TestStrictAuditAnswersForTheRecordItself(t *testing.T) {
	r, w := openPipe(t)
	defer r.Close()
	defer w.Close()
	book := openLogTo(w, logStyle{format: "json"}, true)
	defer book.close()
	flood := func() {
		for range 3000 {
			book.audit.Info().Str("text", strings.Repeat("x", 500)).Msg("flood")
		}
	}
	flood() // more than pipe and queue hold
	recorded := book.recording()
	book.audit.Info().Str("text", strings.Repeat("y", 2000)).Msg("mine")
	read := make(chan string)
	go func() { // ends with the pipe
		text, _ := io.ReadAll(r)
		read <- string(text)
	}()
	answer := make(chan error, 1)
	await := func(recorded session.Recorded) error {
		if settled, err := recorded(func(err error) { answer <- err }); settled {
			return err
		}
		return <-answer
	}
	if err := await(recorded); err == nil {
		t.Error("a record that was lost counts as recorded")
	}
	eventually(t, "a record is written again", func() bool {
		recorded := book.recording()
		book.audit.Info().Msg("later")
		return await(recorded) == nil
	})
	book.close()
	_ = w.Close()
	if text := <-read; strings.Contains(text, "mine") || !strings.Contains(text, "later") {
		t.Errorf("the log has mine: %t, later: %t, want the latter alone", strings.Contains(text, "mine"), strings.Contains(text, "later"))
	}
}

// A command that does away with the agent first thing has left its record.
func TestCommandThatKillsTheAgentIsRecorded(t *testing.T) {
	for _, reader := range append(stoppable(), logReader{"file", nil}) {
		t.Run(reader.name, func(t *testing.T) {
			for range 8 {
				killedByItsCommand(t, reader)
			}
		})
	}
}

func killedByItsCommand(t *testing.T, reader logReader) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	var target string
	var agent *exec.Cmd
	written := func() string {
		text, _ := os.ReadFile(path)
		return string(text)
	}
	if reader.open == nil {
		file, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		dir := t.TempDir()
		target = "unix://" + dir + "/s"
		agent = program(t, "serve", "--listen", target)
		agent.Stderr = file
		start(t, agent)
		eventually(t, "the agent listens", func() bool { return strings.Contains(written(), `"listening"`) })
	} else {
		r, w := reader.open(t)
		target, agent = loggingTo(t, r, w)
		written = func() string {
			text, _ := io.ReadAll(r) // a terminal's ends with EIO
			return string(text)
		}
	}
	_ = dialed(t, target).Command("sh", "-c", "kill -KILL $PPID", "killer").Run()
	_ = within(t, "the agent's end", agent.Wait)
	if log := written(); !strings.Contains(log, "exec requested") {
		t.Errorf("no record of the command that killed the agent: %q", log)
	}
}

func TestLogEscapesWhatTerminalsObey(t *testing.T) {
	const sly = "a\u009b31mb\u202ec\u2066d\U000e0001e\x1b[31mf日本"
	for _, reader := range []logReader{{"json", openPipe}, {"terminal", openTTY}} {
		t.Run(reader.name, func(t *testing.T) {
			r, w := reader.open(t)
			target, agent := loggingTo(t, r, w, "--log-args")
			_ = dialed(t, target).Command("true", sly).Run()
			_ = agent.Process.Kill()
			_ = agent.Wait()
			text, _ := io.ReadAll(r)
			log := string(text)
			for _, unwanted := range []string{"\u009b", "\u202e", "\u2066", "\U000e0001", "\x1b[31mf"} {
				if strings.Contains(log, unwanted) {
					t.Errorf("the log has %q", unwanted)
				}
			}
			for _, want := range []string{`\u009b`, `\u202e`, "日本"} {
				if !strings.Contains(log, want) {
					t.Errorf("the log has no %s: %q", want, log)
				}
			}
		})
	}
}
