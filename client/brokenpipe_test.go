//go:build linux

package client_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Read the first line, close, wait: the command learns that nobody reads.
func TestClosedPipeIsABrokenPipe(t *testing.T) {
	c, _ := dial(t)
	for name, test := range map[string]struct {
		script string
		pipe   func(*client.Cmd) (io.ReadCloser, error)
		want   string // the end, by the command's word
	}{
		"stdout": {`exec yes`, (*client.Cmd).StdoutPipe, "signal PIPE"},
		"stderr": {`exec yes >&2`, (*client.Cmd).StderrPipe, "signal PIPE"},
		"both": {`yes >&2`, func(cmd *client.Cmd) (io.ReadCloser, error) {
			p, err := cmd.StdoutPipe()
			cmd.Stderr = cmd.Stdout
			return p, err
		}, "exit status 141"},
		"EPIPE":      {`trap '' PIPE; yes 2>/dev/null; exit 7`, (*client.Cmd).StdoutPipe, "exit status 7"},
		"in a while": {`echo y; while :; do sleep 0.02; echo y; done`, (*client.Cmd).StdoutPipe, "signal PIPE"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := c.CommandContext(patiently(t), "sh", "-c", test.script)
			pipe, err := test.pipe(cmd)
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(pipe).ReadString('\n'); line != "y\n" {
				t.Fatalf("the pipe reads %q, %v, want %q", line, err, "y\n")
			}
			if err := pipe.Close(); err != nil {
				t.Error(err)
			}
			if err := pipe.Close(); err != nil {
				t.Errorf("a second Close: %v", err)
			}
			if _, err := pipe.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
				t.Errorf("Read after Close: %v", err)
			}
			if err := cmd.Wait(); err == nil || err.Error() != test.want {
				t.Errorf("Wait: %v, want %s", err, test.want)
			}
		})
	}
}

// A command that says nothing more is not ended, and one that ends anyway has no error.
func TestClosedPipeOfASilentCommand(t *testing.T) {
	c, _ := dial(t)
	for name, tty := range map[string]*client.TTY{"pipe": nil, "terminal": {}} {
		t.Run(name, func(t *testing.T) {
			cmd := c.CommandContext(patiently(t), "sh", "-c", `echo first; read line; [ "$line" = go ] && exit 5`)
			cmd.TTY = tty
			pipe, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(pipe).ReadString('\n'); !strings.HasPrefix(line, "first") {
				t.Fatalf("the pipe reads %q, %v, want %q first", line, err, "first")
			}
			_ = pipe.Close()
			if err := cmd.Signal(syscall.Signal(0)); err != nil {
				t.Errorf("it does not run: %v", err)
			}
			if _, err := io.WriteString(in, "go\n"); err != nil {
				t.Error(err)
			}
			if err := cmd.Wait(); err == nil || err.Error() != "exit status 5" {
				t.Errorf("Wait: %v, want exit status 5", err)
			}
		})
	}
}

// A terminal has no reader that could be gone: what its command writes is thrown away.
func TestClosedPipeOfATerminal(t *testing.T) {
	c, _ := dial(t)
	cmd := c.CommandContext(patiently(t), "sh", "-c", `seq 100000; exit 6`)
	cmd.TTY = &client.TTY{}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = pipe.Close()
	if err := cmd.Wait(); err == nil || err.Error() != "exit status 6" {
		t.Errorf("Wait: %v, want exit status 6", err)
	}
}

// An agent without "stream-close" is asked to end the command.
func TestClosedPipeWithAnOldAgent(t *testing.T) {
	defer client.SetBrokenPipeTime(50 * time.Millisecond)()
	c, g := hostile(t)
	cmd := c.CommandContext(patiently(t), "yes")
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan error, 1)
	go func() { started <- cmd.Start() }()
	e, stdout := g.exec()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	_ = pipe.Close()
	if _, err := stdout.Write(make([]byte, 4<<20)); err != nil {
		t.Errorf("what is not wanted any more: %v, want nil", err)
	}
	kill, ok := g.receive().(*wire.Kill)
	if !ok || kill.Exec != e.ID {
		t.Fatalf("%+v, want a kill of exec %d", kill, e.ID)
	}
	_ = stdout.Close()
	x := exited(e, 4<<20)
	x.Code, x.Signal, x.SignalNumber, x.Reason = -1, "TERM", 15, wire.ReasonKilled
	g.send(x)
	if exit, ok := errors.AsType[*client.ExitError](cmd.Wait()); !ok || exit.Reason() != client.ReasonKilled {
		t.Errorf("%v, want an ExitError by kill", exit)
	}
}

// Wait knows that nobody has read the output.
func TestUnreadPipeIsTruncated(t *testing.T) {
	c, _ := dial(t)
	cmd := c.CommandContext(patiently(t), "head", "-c", "1000000", "/dev/zero")
	if _, err := cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cut, ok := errors.AsType[*client.TruncatedError](cmd.Wait())
	if !ok || cut.Stream != "stdout" || cut.Got != 0 || cut.Sent != 1000000 || !cut.State.Success() {
		t.Errorf("%+v, want stdout, 0 of 1000000 bytes", cut)
	}

	cmd = c.CommandContext(patiently(t), "sh", "-c", "head -c 1000000 /dev/zero; exit 3")
	if _, err := cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Run(); err == nil || err.Error() != "exit status 3" {
		t.Errorf("%v, want the command's own end", err)
	}

	cmd = c.CommandContext(patiently(t), "echo", "all")
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(pipe, make([]byte, 4)); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("all was read, but not its end: %v", err)
	}
}

func TestTimeoutIsADeadline(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("sleep", "100")
	cmd.Timeout = 50 * time.Millisecond
	err := cmd.Run()
	exit, ok := errors.AsType[*client.ExitError](err)
	if !ok || exit.Reason() != client.ReasonTimeout || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want an ExitError that is a deadline's", err)
	}
	if err := c.Command("false").Run(); errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v is a deadline's", err)
	}
}

func TestSignal0FindsOutWhetherTheCommandRuns(t *testing.T) {
	c, _ := dial(t)
	cmd := c.CommandContext(patiently(t), "cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("it runs: %v", err)
	}
	_ = in.Close()
	agenttest.Eventually(t, "signal 0 says that the command is done", func() bool {
		return errors.Is(cmd.Signal(syscall.Signal(0)), os.ErrProcessDone)
	})
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if err := cmd.Signal(syscall.Signal(0)); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("after Wait: %v", err)
	}
}

// Zero values fail when they are used.
func TestZeroValues(t *testing.T) {
	refused := func(what string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	var c client.Client
	refused("Ping", c.Ping(t.Context()), "not made by Dial")
	refused("Run", c.Command("true").Run(), "not made by Dial")
	refused("Reseed", c.Reseed(t.Context(), make([]byte, 16), false), "not made by Dial")
	_, err := c.DialGuest(t.Context(), "tcp", "localhost:1")
	refused("DialGuest", err, "not made by Dial")
	_, err = c.Execs(t.Context())
	refused("Execs", err, "not made by Dial")
	_, err = c.Info(t.Context())
	refused("Info", err, "not made by Dial")
	if c.Protocol() != client.ProtocolAuto || c.Err() != nil || c.Close() != nil {
		t.Error("a zero Client has a protocol, or an error")
	}
	var p client.Pool
	_, err = p.Get(t.Context(), "unix:///x")
	refused("Get", err, "not made by NewPool")
	p.Forget("unix:///x")
	if p.Stats() != (client.PoolStats{}) || p.Close() != nil {
		t.Error("a zero Pool has statistics, or an error")
	}
	_, err = client.NewClient(t.Context(), nil)
	refused("NewClient", err, "nil connection")
	_, err = client.DialWith(t.Context(), func(context.Context) (net.Conn, error) { return nil, nil })
	refused("DialWith", err, "nil connection")
	defer func() {
		if p := recover(); p != "client: nil Context" {
			t.Errorf("%v, want a panic at once", p)
		}
	}()
	_ = c.CommandContext(nil, "true") //nolint:staticcheck // that is what is tested
}
