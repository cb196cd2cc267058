package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/client"
)

// outputFlags say what of the output of a detached command is wanted.
type outputFlags struct {
	From string `default:"oldest" placeholder:"OFFSET" help:"Begin with byte OFFSET of each output, or its end if there are fewer, with the oldest output that the guest keeps (oldest), or with what the command writes next (now). Default: oldest."`
}

// position returns the position at which the output begins.
func (f *outputFlags) position() (p client.Position, err error) {
	switch f.From {
	case "oldest":
		p.Oldest = true
	case "now":
		p.Now = true
	default:
		n, err := strconv.ParseUint(f.From, 10, 64)
		if err != nil {
			return p, misuse("--from %q: want a number of bytes, oldest or now", f.From)
		}
		p.Stdout, p.Stderr = n, n
	}
	return p, nil
}

// atMost returns p, or the end of an output that has not reached it.
func atMost(p client.Position, e *client.Exec) client.Position {
	p.Stdout, p.Stderr = min(p.Stdout, e.StdoutBytes), min(p.Stderr, e.StderrBytes)
	return p
}

// parseHandle reads a handle as ps prints it.
func parseHandle(text string) ([]byte, error) {
	handle, err := hex.DecodeString(text)
	if err != nil || len(handle) != handleSize {
		return nil, misuse("handle %q: want %d hexadecimal digits, as printed by ps", text, 2*handleSize)
	}
	return handle, nil
}

type attachCommand struct {
	targetFlags
	outputFlags

	NoStdin bool   `short:"n" help:"Do not read standard input; somebody else may write the command's."`
	Escape  string `default:"~" placeholder:"CHAR" help:"Escape character, if the command has a terminal. CHAR and a dot, typed at the start of a line, detach. One character, ^X for a control character, or none. Default: ~."`
	Redraw  string `default:"auto" enum:"auto,replay,winch,none" placeholder:"HOW" help:"If the command has a terminal, how to restore its screen. Replay: repeat the last output. Winch: change the window size, so that a full-screen program draws. Auto: decide by the program. None: begin at --from. Default: auto."`

	Handle string `arg:"" help:"Handle of a command started by \"client --detach\", as printed by it and \"ps\"."`
}

// Help is what --help says besides the flags.
func (*attachCommand) Help() string {
	return `Connects the standard streams of this client to a command that was started by
"client --detach", until the command has ended. Any number of clients may be attached.
The last one writes the command's standard input.

If the command has a terminal then every key goes to it, including ^C, and ~. at the
start of a line detaches. Otherwise SIGINT, SIGTERM and SIGHUP detach, and the end of
standard input is the end of the command's. The command goes on without this client.
Exit status:

  n      the command exited with status n
  128+n  signal n killed the command, or made this client detach
  127    no command with this handle
  255    invalid command line, detached by ~., or the agent or connection failed

  cocoon-agent attach --cid 3 4f1d00c5a3be9f0e6d2b7a8190cc3e5d`
}

// Run attaches.
func (c *attachCommand) Run(k *kong.Context) error {
	from, err := c.position()
	if err == nil {
		_, err = escapeChar(c.Escape)
	}
	if err != nil {
		return &clientError{err: err}
	}
	return withCommand(k, &c.targetFlags, c.Handle, c.NoStdin, func(ctx context.Context, conn *client.Client, exec client.Exec) error {
		cmd := conn.Attach(ctx, exec.Handle)
		cmd.From, cmd.Stdout = atMost(from, &exec), os.Stdout
		cmd.WaitDelay = time.Second // nobody may read our output
		cmd.Outlive.Resume = c.NoStdin
		if !c.NoStdin && exec.Input && canReadStdin() {
			cmd.Stdin = os.Stdin
		}
		if exec.TTY {
			return c.interact(conn, cmd)
		}
		cmd.Stderr = os.Stderr
		return cmd.Run()
	})
}

// interact runs cmd with the local terminal as the command's.
func (c *attachCommand) interact(conn *client.Client, cmd *client.Cmd) error {
	local := openLocalTerminal()
	defer local.restore()
	changes, stopChanges := sizeChanges()
	defer stopChanges()
	cmd.Redraw = client.Redraw(c.Redraw)
	left := make(chan struct{})
	if local.in >= 0 && cmd.Stdin != nil {
		char, err := escapeChar(c.Escape)
		if err != nil {
			return err
		}
		help := func() { fmt.Fprint(os.Stderr, escapeHelp) }
		typing := newKeyboard(keysOf(os.Stdin), char, help, func() {
			close(left)
			_ = conn.Close() // the agent need not answer
		})
		cmd.Stdin = typing
		if err := local.raw(); err != nil {
			return err
		}
		local.guarded(typing.run)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	stop := make(chan struct{})
	defer close(stop)
	if size := local.size(); size.Rows > 0 && size.Cols > 0 {
		_ = cmd.ResizeTo(size) // Wait tells of the command's end
	}
	local.guarded(func() { local.follow(cmd, changes, stop) })
	err := cmd.Wait()
	select {
	case <-left:
		local.restore()
		fmt.Fprintln(os.Stderr)
		return errLeft
	default:
		return err
	}
}

// withCommand calls do with a connection and the command that a handle names. A signal that
// asks this program to end ends ctx: the command goes on. resume: so does what do has begun, over
// another connection, if this one is lost.
func withCommand(k *kong.Context, target *targetFlags, handle string, resume bool, do func(context.Context, *client.Client, client.Exec) error) error {
	named, err := parseHandle(handle)
	if err != nil {
		return &clientError{err: err}
	}
	url, err := target.url(k)
	if err != nil {
		return &clientError{err: err}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(sig) {
			signal.Notify(signals, sig)
		}
	}
	defer signal.Stop(signals)
	go func() { // ends with ctx
		select {
		case sig := <-signals:
			signal.Stop(signals) // another one ends this program
			cancel(&interruptedError{sig.(syscall.Signal), nil})
		case <-ctx.Done():
		}
	}()
	var conn connection
	if resume {
		conn, err = target.dialPooled(ctx, url)
	} else {
		conn.Client, err = target.dial(ctx, url)
	}
	if err == nil {
		defer conn.Close()
		var exec client.Exec
		if exec, err = conn.FindExec(ctx, named); err == nil {
			err = do(ctx, conn.Client, exec)
		}
	}
	if lost, ok := errors.AsType[*client.LostExitError](err); ok {
		err = fmt.Errorf("the connection is lost, and the command goes on: attach again (%w)", lost.Err)
	}
	early, isEarly := errors.AsType[*interruptedError](context.Cause(ctx))
	switch {
	case err == nil:
		return nil
	case isEarly && (errors.Is(err, client.ErrDetached) || errors.Is(err, context.Canceled)):
		return &clientError{err: early}
	default:
		return &clientError{url, err}
	}
}

type logsCommand struct {
	targetFlags
	outputFlags

	Follow bool `short:"f" help:"Go on until the command has ended."`

	Handle string `arg:"" help:"Handle of a command started by \"client --detach\", as printed by it and \"ps\"."`
}

// Help is what --help says besides the flags.
func (*logsCommand) Help() string {
	return `Prints the output that the guest keeps of a command started by "client --detach": its
standard output on standard output, its standard error on standard error. The guest keeps
the last part of each (client --ring). An offset counts the bytes of an output from its
beginning. Output that is not kept any more is left out, with a line on standard error.
Exit status:

  0    the output was printed
  1    the agent or connection failed
  2    invalid command line
  127  no command with this handle
  128+n  signal n ended this client

  cocoon-agent logs -f --cid 3 4f1d00c5a3be9f0e6d2b7a8190cc3e5d`
}

// Run prints.
func (c *logsCommand) Run(k *kong.Context) error {
	from, err := c.position()
	if err != nil {
		return err
	}
	err = withCommand(k, &c.targetFlags, c.Handle, true, func(ctx context.Context, conn *client.Client, exec client.Exec) error {
		return conn.Logs(ctx, exec.Handle, os.Stdout, os.Stderr, client.LogOptions{From: from, Follow: c.Follow, Lost: tellLost})
	})
	if err == nil {
		return nil
	}
	failed, isClient := errors.AsType[*clientError](err)
	status, _ := statusOf(err)
	if isClient && status == statusTransport {
		return failed.err // the status is 1
	}
	return err
}

// tellLost tells of output that the guest has dropped.
func tellLost(stream string, from, to uint64) {
	fmt.Fprintf(os.Stderr, "cocoon-agent: bytes %d to %d of %s are not kept any more\n", from, to, stream)
}

type waitExecCommand struct {
	targetFlags

	Timeout time.Duration `short:"W" placeholder:"TIME" help:"Give up after TIME. The exit status is then 124. Default: no limit."`
	Release bool          `help:"Then remove the record and the output of the command from the guest."`

	Handle string `arg:"" help:"Handle of a command started by \"client --detach\", as printed by it and \"ps\"."`
}

// Help is what --help says besides the flags.
func (*waitExecCommand) Help() string {
	return `Waits until a command that was started by "client --detach" has ended. It may have ended
before. Exit status:

  n      the command exited with status n
  128+n  signal n killed the command, or ended this client
  124    --timeout expired, here or that of the command
  127    no command with this handle
  255    invalid command line, or the agent or connection failed

  cocoon-agent wait-exec --cid 3 --release 4f1d00c5a3be9f0e6d2b7a8190cc3e5d`
}

// Run waits.
func (c *waitExecCommand) Run(k *kong.Context) error {
	if c.Timeout < 0 {
		return &clientError{err: misuse("--timeout %v is negative", c.Timeout)}
	}
	return withCommand(k, &c.targetFlags, c.Handle, true, func(ctx context.Context, conn *client.Client, exec client.Exec) error {
		if c.Timeout > 0 {
			within, cancel := context.WithTimeout(ctx, c.Timeout)
			defer cancel()
			ctx = within
		}
		cmd := conn.Attach(ctx, exec.Handle)
		cmd.Outlive.Resume = true
		err := cmd.Run()
		if errors.Is(err, client.ErrDetached) && errors.Is(err, context.DeadlineExceeded) {
			return &expiredError{c.Timeout}
		}
		if c.Release && cmd.ProcessState != nil {
			err = errors.Join(err, conn.ReleaseExec(context.WithoutCancel(ctx), exec.Handle))
		}
		return err
	})
}

// An expiredError says that a command has not ended within --timeout.
type expiredError struct{ after time.Duration }

func (e *expiredError) Error() string {
	return fmt.Sprintf("the command has not ended within %v, and goes on", e.after)
}

type releaseCommand struct {
	targetFlags

	Timeout time.Duration `short:"W" default:"10s" help:"Time limit for each answer."`

	Handles []string `arg:"" name:"handle" help:"Handle of a command that has ended, as printed by \"ps\"."`
}

// Help is what --help says besides the flags.
func (*releaseCommand) Help() string {
	return `Removes the record and the output of commands that were started by "client --detach" and
have ended. The guest removes them by itself after a day, or when there are too many.
Exit status:

  0  all were removed
  1  one was not removed; standard error has one line for each
  2  invalid command line

  cocoon-agent release --cid 3 4f1d00c5a3be9f0e6d2b7a8190cc3e5d`
}

// Run releases each.
func (c *releaseCommand) Run(k *kong.Context) error {
	return forEachHandle(k, &c.targetFlags, c.Timeout, c.Handles, func(ctx context.Context, conn *client.Client, handle []byte) error {
		return conn.ReleaseExec(ctx, handle)
	})
}
