package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/client"
)

type killCommand struct {
	targetFlags

	Force   bool          `short:"f" help:"Send SIGKILL immediately."`
	Signal  string        `short:"s" placeholder:"SIGNAL" help:"Send this signal only, by name or number: to the foreground job of the command's terminal, or without one to each of its processes."`
	Timeout time.Duration `short:"W" default:"10s" help:"Time limit for each answer."`

	Handles []string `arg:"" name:"handle" help:"Handle of a command, as printed by \"ps\"."`
}

// Help is what --help says besides the flags.
func (*killCommand) Help() string {
	return `Sends SIGTERM to each command and its descendants, and SIGKILL 5 seconds later. It
does not matter who started the command, or whether its connection has ended. The
agent answers before the command has ended. Exit status:

  0  all commands were signaled
  1  a command could not be killed; standard error has one line for each
  2  invalid command line

  cocoon-agent kill --cid 3 4f1d00c5a3be9f0e6d2b7a8190cc3e5d
  cocoon-agent kill --cid 3 -s HUP 4f1d00c5a3be9f0e6d2b7a8190cc3e5d
  cocoon-agent kill --cid 3 --force $(cocoon-agent ps --json --cid 3 | jq -r '.execs[].handle')`
}

// handleSize is the length of a handle, in bytes.
const handleSize = 16

// errTold says that standard error has it already.
var errTold = errors.New("")

// Run kills each.
func (c *killCommand) Run(k *kong.Context) error {
	if c.Force && c.Signal != "" {
		return misuse("--force and --signal are mutually exclusive")
	}
	return forEachHandle(k, &c.targetFlags, c.Timeout, c.Handles, c.kill)
}

// forEachHandle calls do with a connection and each handle. Standard error has a line for each
// that fails.
func forEachHandle(
	k *kong.Context, target *targetFlags, timeout time.Duration, texts []string,
	do func(context.Context, *client.Client, []byte) error,
) error {
	if timeout <= 0 {
		return misuse("--timeout %v: want more than 0", timeout)
	}
	var handles [][]byte
	for _, text := range texts {
		handle, err := parseHandle(text)
		if err != nil {
			return err
		}
		handles = append(handles, handle)
	}
	url, err := target.url(k)
	if err != nil {
		return err
	}
	conn, err := target.dial(context.Background(), url)
	if err != nil {
		return err
	}
	defer conn.Close()
	failed := false
	for _, handle := range handles {
		if err := inTime(timeout, func(ctx context.Context) error { return do(ctx, conn, handle) }); err != nil {
			failed = true
			fmt.Fprintln(k.Stderr, printable(fmt.Sprintf("cocoon-agent: %s: %x: %v", url, handle, err)))
		}
	}
	if failed {
		return errTold
	}
	return nil
}

// inTime calls do with a context that ends after a time.
func inTime(timeout time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	err := do(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %v: it may or may not have been done", timeout)
	}
	if remote, ok := errors.AsType[*client.RemoteError](err); ok {
		return remote // without what errors.Is is told
	}
	return err
}

func (c *killCommand) kill(ctx context.Context, conn *client.Client, handle []byte) error {
	if c.Signal != "" {
		return conn.SignalExec(ctx, handle, client.SignalName(c.Signal))
	}
	return conn.KillExec(ctx, handle, c.Force)
}
