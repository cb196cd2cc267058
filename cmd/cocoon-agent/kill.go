package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/alecthomas/kong"

	"github.com/cocoonstack/cocoon-agent/client"
)

type killCommand struct {
	targetFlags

	Force   bool          `short:"f" help:"Send SIGKILL immediately."`
	Timeout time.Duration `short:"W" default:"10s" help:"Time limit for each answer."`

	Handles []string `arg:"" name:"handle" help:"Handle of a command, as printed by \"execs\"."`
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
  cocoon-agent kill --cid 3 --force $(cocoon-agent execs --json --cid 3 | jq -r '.execs[].handle')`
}

// handleSize is the length of a handle, in bytes.
const handleSize = 16

// errTold says that standard error has it already.
var errTold = errors.New("")

// Run kills each.
func (c *killCommand) Run(k *kong.Context) error {
	if c.Timeout <= 0 {
		return misuse("--timeout %v: want more than 0", c.Timeout)
	}
	var handles [][]byte
	for _, text := range c.Handles {
		handle, err := hex.DecodeString(text)
		if err != nil || len(handle) != handleSize {
			return misuse("handle %q: want %d hexadecimal digits, as printed by execs", text, 2*handleSize)
		}
		handles = append(handles, handle)
	}
	url, err := c.url(k)
	if err != nil {
		return err
	}
	conn, err := c.dial(context.Background(), url)
	if err != nil {
		return err
	}
	defer conn.Close()
	failed := false
	for _, handle := range handles {
		if err := c.kill(conn, handle); err != nil {
			failed = true
			fmt.Fprintln(k.Stderr, printable(fmt.Sprintf("cocoon-agent: %s: %x: %v", url, handle, err)))
		}
	}
	if failed {
		return errTold
	}
	return nil
}

func (c *killCommand) kill(conn *client.Client, handle []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), c.Timeout)
	defer cancel()
	err := conn.KillExec(ctx, handle, c.Force)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %v: the command may or may not have been killed", c.Timeout)
	}
	if remote, ok := errors.AsType[*client.RemoteError](err); ok {
		return remote // without what errors.Is is told
	}
	return err
}
