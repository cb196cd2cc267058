package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/cocoonstack/cocoon-agent/client"
)

// errLeft is how a session ends that its user has left.
var errLeft = errors.New("left the session")

// interact runs cmd in a terminal that is tied to ours. end ends the command and
// does not wait for it.
func (c *clientCommand) interact(signals chan os.Signal, conn io.Closer, cmd *client.Cmd, end func(), started func(*client.Cmd)) error {
	local := openLocalTerminal()
	defer local.restore()
	changes, stopChanges := sizeChanges()
	defer stopChanges()
	cmd.TTY = local.tty()
	c.set(cmd.TTY)

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
		typing = newKeyboard(keysOf(os.Stdin), char, help, leave)
		cmd.Stdin = typing
	}
	shown := newGate(cmd.Stdout)
	defer shown.open()
	cmd.Stdout = shown
	r := relaySignals(signals, cmd, end, started, true)
	defer r.close()
	local.guarded(r.run)
	if err := r.start(); err != nil {
		return err
	}
	if typing != nil {
		if err := local.raw(); err != nil {
			return err
		}
		local.guarded(typing.run)
	}
	shown.open()
	local.guarded(func() { local.follow(cmd, changes, r.stop) })
	if c.sizes != nil {
		local.guarded(func() { resizeFrom(c.sizes, cmd) }) // ends with the program, or its input
	}
	err := cmd.Wait()
	if left.Load() {
		local.restore()
		fmt.Fprintln(os.Stderr)
		return errLeft
	}
	return err
}

// A gate holds output back until it is open. Until the command has started the local terminal keeps its modes, for ^C; they
// would change the command's output, which can be there first.
type gate struct {
	to     io.Writer
	open   func() // idempotent
	opened chan struct{}
}

func newGate(to io.Writer) *gate {
	opened := make(chan struct{})
	return &gate{to: to, open: sync.OnceFunc(func() { close(opened) }), opened: opened}
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.opened
	return g.to.Write(p)
}
