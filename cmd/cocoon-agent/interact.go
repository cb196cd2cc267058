package main

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/cocoonstack/cocoon-agent/client"
)

// errLeft is how a session ends that its user has left.
var errLeft = errors.New("left the session")

// interact runs cmd in a terminal that is tied to ours. hangUp ends the command
// and does not wait for it.
func (c *clientCommand) interact(conn *client.Client, cmd *client.Cmd, hangUp func()) error {
	local := openLocalTerminal()
	defer local.restore()
	changes, stopChanges := sizeChanges()
	defer stopChanges()
	cmd.TTY = local.tty()

	var left atomic.Bool
	var typing *keyboard // nil: input is passed on as it is
	if local.in >= 0 && cmd.Stdin != nil {
		char, err := escapeChar(c.Escape)
		if err != nil {
			return err
		}
		help := func() { fmt.Fprint(os.Stderr, escapeHelp) }
		leave := func() {
			left.Store(true)
			_ = conn.Close() // the agent need not answer
		}
		typing = newKeyboard(os.Stdin, char, help, leave)
		cmd.Stdin = typing
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if typing != nil {
		if err := local.raw(); err != nil {
			return err
		}
		local.guarded(typing.run)
	}
	signals, stopSignals := relayedSignals()
	defer stopSignals()
	stop := make(chan struct{})
	defer close(stop)
	local.guarded(func() { relay(cmd, hangUp, signals, stop) })
	local.guarded(func() { local.follow(cmd, changes, stop) })
	err := cmd.Wait()
	if left.Load() {
		local.restore()
		fmt.Fprintln(os.Stderr)
		return errLeft
	}
	return err
}
