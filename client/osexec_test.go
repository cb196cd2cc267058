//go:build linux

package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A Cmd keeps these promises of os/exec.

// k8s.io/utils/exec.ExitError's methods.
var _ interface {
	String() string
	Error() string
	Exited() bool
	ExitStatus() int
} = (*client.ExitError)(nil)

func TestCmdRunsOnce(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("true", "and", "its arguments")
	if s := cmd.String(); s != "true and its arguments" {
		t.Errorf("it is %q", s)
	}
	refuse := func(what string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
	refuse("Wait before Start", cmd.Wait(), "not started")
	refuse("Signal before Start", cmd.Signal(syscall.SIGTERM), "not started")
	refuse("Kill before Start", cmd.Kill(), "not started")
	if cmd.PID() != 0 || cmd.ProcessState.ExitCode() != -1 || cmd.ProcessState.String() != "<nil>" {
		t.Errorf("before Start: pid %d, state %v", cmd.PID(), cmd.ProcessState)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	refuse("a second Start", cmd.Start(), "already started")
	_, err := cmd.StdinPipe()
	refuse("StdinPipe after Start", err, "after the command was started")
	_, err = cmd.StdoutPipe()
	refuse("StdoutPipe after Start", err, "after the command was started")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	refuse("a second Wait", cmd.Wait(), "already called")
	refuse("Start after Wait", cmd.Start(), "already started")
	for name, err := range map[string]error{"Signal": cmd.Signal(syscall.SIGTERM), "Kill": cmd.Kill()} {
		wantKind(t, err, client.NotFound)
		if !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("%s after the end: %v", name, err)
		}
	}
	refuse("a Cmd of nobody's", new(client.Cmd).Run(), "not made by Command")
}

func TestCmdThatWasRefusedIsNotStartedAgain(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("/no/such")
	wantKind(t, cmd.Start(), client.NotFound)
	if err := cmd.Start(); err == nil || !strings.Contains(err.Error(), "already started") {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "not started") {
		t.Error(err)
	}
}

func TestContextThatHasEndedStartsNothing(t *testing.T) {
	c, g := hostile(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cmd := c.CommandContext(ctx, "anything")
	err := cmd.Start()
	if _, ok := errors.AsType[*client.MaybeStartedError](err); ok || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v (%T)", err, err)
	}
	go func() { _ = c.Ping(t.Context()) }() // ends with the connection
	if _, ok := g.receive().(*wire.Ping); !ok {
		t.Error("the guest was asked for something else before the ping")
	}
}

func TestStreamsAreSetOnce(t *testing.T) {
	c, _ := dial(t)
	for name, f := range map[string]func(cmd *client.Cmd) error{
		"StdinPipe, Stdin set":    func(cmd *client.Cmd) error { cmd.Stdin = os.Stdin; _, err := cmd.StdinPipe(); return err },
		"StdinPipe twice":         func(cmd *client.Cmd) error { _, _ = cmd.StdinPipe(); _, err := cmd.StdinPipe(); return err },
		"StdoutPipe, Stdout set":  func(cmd *client.Cmd) error { cmd.Stdout = io.Discard; _, err := cmd.StdoutPipe(); return err },
		"StdoutPipe twice":        func(cmd *client.Cmd) error { _, _ = cmd.StdoutPipe(); _, err := cmd.StdoutPipe(); return err },
		"StderrPipe, Stderr set":  func(cmd *client.Cmd) error { cmd.Stderr = io.Discard; _, err := cmd.StderrPipe(); return err },
		"Output, Stdout set":      func(cmd *client.Cmd) error { cmd.Stdout = io.Discard; _, err := cmd.Output(); return err },
		"Output, StdoutPipe":      func(cmd *client.Cmd) error { _, _ = cmd.StdoutPipe(); _, err := cmd.Output(); return err },
		"CombinedOutput, StderrP": func(cmd *client.Cmd) error { _, _ = cmd.StderrPipe(); _, err := cmd.CombinedOutput(); return err },
	} {
		if err := f(c.Command("echo", "lost?")); err == nil || !strings.HasSuffix(err.Error(), "already set") {
			t.Errorf("%s = %v, want %q", name, err, "already set")
		}
	}
}

// cmd.Stderr = cmd.Stdout after StdoutPipe is how programs get both by one pipe.
func TestStdoutPipeMayBeStderrsToo(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("sh", "-c", "echo out; echo err >&2; echo out")
	stdout, err := cmd.StdoutPipe()
	cmd.Stderr = cmd.Stdout
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	both, err := io.ReadAll(stdout)
	if err := errors.Join(err, cmd.Wait()); err != nil || string(both) != "out\nerr\nout\n" {
		t.Errorf("both outputs are %q, %v, want them in order", both, err)
	}
	if _, err := stdout.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the pipe after Wait: %v", err)
	}
}

// A matched writer is comparable by its type, and not by its value.
type matched struct{ any }

func (matched) Write(b []byte) (int, error) { return len(b), nil }

func TestWritersThatCannotBeComparedAreTwo(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("sh", "-c", "echo out; echo err >&2")
	cmd.Stdout, cmd.Stderr = matched{[]int{}}, matched{[]int{}}
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
}

func TestStdinPipeIsClosedOnce(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("cat")
	stdin, _ := cmd.StdinPipe()
	if err := stdin.Close(); err == nil {
		t.Error("closed before Start")
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(stdin.Close(), stdin.Close()); err != nil {
		t.Error(err)
	}
	if _, err := stdin.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a write after Close: %v", err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// An endless command of a caller whose Writer fails has an exit status too.
func TestProcessStateIsSetWhateverTheErrorIs(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("sh", "-c", "echo x; exec sleep 1000")
	cmd.Stdout = failing{io.ErrNoProgress}
	if err := cmd.Run(); !errors.Is(err, io.ErrNoProgress) {
		t.Fatal(err)
	}
	if s := cmd.ProcessState; s == nil || s.Signal() != "TERM" || s.String() != "signal TERM (ended by the host)" {
		t.Errorf("state %v", s)
	}
}

// A short Writer is one that breaks io.Writer's rules.
type short struct{}

func (short) Write(b []byte) (int, error) { return len(b) - 1, nil }

func TestShortWriteIsTheError(t *testing.T) {
	c, _ := dial(t)
	cmd := c.Command("echo", "hello")
	cmd.Stdout = short{}
	if err := cmd.Run(); !errors.Is(err, io.ErrShortWrite) {
		t.Error(err)
	}
}

// A stuck Writer writes for as long as it is not freed.
type stuck struct{ freed chan struct{} }

func (s *stuck) Write(b []byte) (int, error) { <-s.freed; return len(b), nil }

func TestWaitDelayBoundsWritersAfterTheExit(t *testing.T) {
	c, _ := dial(t)
	w := &stuck{freed: make(chan struct{})}
	defer close(w.freed)
	cmd := c.Command("echo", "hello")
	cmd.Stdout, cmd.WaitDelay = w, time.Millisecond
	if err := cmd.Run(); !errors.Is(err, client.ErrWaitDelay) {
		t.Error(err)
	}
	if s := cmd.ProcessState; s == nil || !s.Success() {
		t.Errorf("state %v", s)
	}
}

// As with os/exec, a command that its context has ended has not succeeded,
// though it exits with code 0.
func TestCommandThatWasEndedHasNotSucceeded(t *testing.T) {
	const obliging = `trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done`
	t.Run("by its context", func(t *testing.T) {
		c, _ := dial(t)
		ctx, cancel := context.WithCancel(t.Context())
		cmd := c.CommandContext(ctx, "sh", "-c", obliging)
		cmd.Stdout = &cancelling{cancel: cancel}
		exit := wantExit(t, cmd.Run(), 0)
		if !errors.Is(exit, context.Canceled) || exit.Error() != "exit status 0 (ended by the host)" {
			t.Errorf("error %v", exit)
		}
	})
	t.Run("by its timeout", func(t *testing.T) {
		c, g := hostile(t)
		result := output(t.Context(), c)
		e, stdout := g.exec()
		_ = stdout.Close()
		x := exited(e, 0)
		x.Reason = wire.ReasonTimeout
		g.send(x)
		if exit := wantExit(t, <-result, 0); exit.Error() != "exit status 0 (timed out)" {
			t.Errorf("error %v", exit)
		}
	})
}

func TestWaitIgnoresAContextThatEndsAfterTheExit(t *testing.T) {
	c, g := hostile(t)
	ctx, cancel := context.WithCancel(t.Context())
	cmd := c.CommandContext(ctx, "anything")
	started := make(chan error)
	go func() { started <- cmd.Start() }()
	e, _ := g.exec()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	x := exited(e, 0)
	x.Code = 7
	g.send(x)
	cancel()
	if exit := wantExit(t, cmd.Wait(), 7); errors.Is(exit, context.Canceled) || exit.Error() != "exit status 7" {
		t.Errorf("error %v", exit)
	}
}

func TestStateReadsWell(t *testing.T) {
	for want, x := range map[string]wire.Exited{
		"exit status 7":                                 {Code: 7, Reason: wire.ReasonExit},
		"signal SEGV (core dumped)":                     {Code: -1, Signal: "SEGV", SignalNumber: 11, CoreDumped: true, Reason: wire.ReasonSignal},
		"signal 34":                                     {Code: -1, SignalNumber: 34, Reason: wire.ReasonSignal},
		"signal TERM (timed out)":                       {Code: -1, Signal: "TERM", SignalNumber: 15, Reason: wire.ReasonTimeout},
		"signal KILL (ended by the host)":               {Code: -1, Signal: "KILL", SignalNumber: 9, Reason: wire.ReasonKilled},
		"exit status 1 (agent shut down)":               {Code: 1, Reason: wire.ReasonShutdown},
		"exit status 3":                                 {Code: 3, Reason: "of a later agent's"},
		"signal KILL (core dumped) (ended by the host)": {Code: -1, Signal: "KILL", SignalNumber: 9, CoreDumped: true, Reason: wire.ReasonKilled},
	} {
		c, g := hostile(t)
		result := output(t.Context(), c)
		e, stdout := g.exec()
		_ = stdout.Close()
		x.ID = e.ID
		g.send(&x)
		err := <-result
		exit, ok := errors.AsType[*client.ExitError](err)
		if !ok || exit.Error() != want || exit.String() != want || !exit.Exited() {
			t.Errorf("error %q (%T), want %q", err, err, want)
		}
		_ = c.Close()
	}
}

// Bytes that a caller reads from a pipe, to its end, are counted, too.
func TestPipeThatEndsEarlyIsTruncation(t *testing.T) {
	c, g := hostile(t)
	cmd := c.Command("anything")
	pipe, _ := cmd.StdoutPipe()
	result := make(chan error)
	go func() {
		if err := cmd.Start(); err != nil {
			t.Error(err)
		}
		_, _ = io.ReadAll(pipe)
		result <- cmd.Wait()
	}()
	e, stdout := g.exec()
	_, _ = io.WriteString(stdout, "1234")
	_ = stdout.Close()
	g.send(exited(e, 5))
	err := <-result
	if cut, ok := errors.AsType[*client.TruncatedError](err); !ok || cut.Got != 4 || cut.Sent != 5 {
		t.Errorf("error %v (%T)", err, err)
	}
}

func TestOutputKeepsTheEndsOfALotOfStderr(t *testing.T) {
	c, _ := dial(t)
	_, err := c.Command("sh", "-c", "echo begin >&2; head -c 1000000 /dev/zero >&2; echo end >&2; exit 1").Output()
	exit := wantExit(t, err, 1)
	text := exit.Stderr
	if len(text) > 70<<10 || !bytes.HasPrefix(text, []byte("begin\n")) || !bytes.HasSuffix(text, []byte("end\n")) ||
		!bytes.Contains(text, fmt.Appendf(nil, "... omitting %d bytes ...", len("begin\n")+1000000+len("end\n")-64<<10)) {
		t.Errorf("%d bytes", len(text))
	}
}

// A counting connection knows how much has come.
type counting struct {
	net.Conn
	read atomic.Int64
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

func TestOutputThatNobodyWantsIsNotSent(t *testing.T) {
	a := agenttest.Start(t)
	conn := &counting{Conn: a.Dial(t)}
	c, err := client.NewClient(t.Context(), conn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Command("sh", "-c", "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2").Run(); err != nil {
		t.Fatal(err)
	}
	if n := conn.read.Load(); n > 10000 {
		t.Errorf("%d bytes came", n)
	}
}

func TestRequestThatIsTooLongIsAnErrorAtOnce(t *testing.T) {
	c, _ := dial(t)
	if err := c.Reseed(patiently(t), make([]byte, 5<<20), false); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	cmd := c.Command("echo", strings.Repeat("x", 5<<20))
	if err := cmd.Run(); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("error %v", err)
	}
	if err := c.Ping(patiently(t)); err != nil {
		t.Error(err)
	}
}

// Starts that are given up leave nothing behind on a connection that is kept.
func TestCancelledStartsDoNotExhaustTheConnection(t *testing.T) {
	c, _ := dial(t)
	for range 400 {
		ctx, cancel := context.WithCancel(t.Context())
		cmd := c.CommandContext(ctx, "cat")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("x"), io.Discard, io.Discard
		go cancel() // ends at once
		err := cmd.Run()
		if err == nil {
			continue // it was quicker
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	agenttest.Eventually(t, "only the control stream is left", func() bool { return client.NumStreams(c) == 1 })
	if err := c.CommandContext(patiently(t), "true").Run(); err != nil {
		t.Error(err)
	}
}
