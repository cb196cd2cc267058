package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// PID returns the process's pid in the guest, 0 before Start.
func (c *Cmd) PID() int { return c.pid }

// Signal sends a signal to the command: to the foreground job of its terminal,
// or without one to each process of all that it has started. sig is a
// syscall.Signal, by its Linux number, or a [SignalName]. Signal returns once the
// agent has sent it, which takes as long as the VM is paused, or the connection
// has ended. Where the command has ended, the error is os.ErrProcessDone and a
// [*RemoteError] of kind [NotFound].
func (c *Cmd) Signal(sig os.Signal) error {
	if c.pid == 0 {
		return errNotStarted
	}
	var name string
	switch s := sig.(type) {
	case SignalName:
		name = string(s)
	case syscall.Signal:
		name = strconv.Itoa(int(s))
	default:
		return fmt.Errorf("client: signal %v: want a syscall.Signal or a SignalName", sig)
	}
	_, err := c.client.request(context.WithoutCancel(c.ctx), func(h wire.Head) wire.Message {
		return &wire.Signal{Head: h, Exec: c.id, Signal: name}
	})
	return processDone(err)
}

// processDone makes an error that says that there is no such exec os/exec's.
func processDone(err error) error {
	if remote, ok := errors.AsType[*RemoteError](err); ok && remote.Kind == NotFound {
		return fmt.Errorf("%w: %w", os.ErrProcessDone, err)
	}
	return err
}

// A SignalName is a signal by its name in the guest, such as "TERM" or "SIGUSR1".
type SignalName string

// Signal makes a SignalName an os.Signal.
func (SignalName) Signal() {}

// String returns the name.
func (s SignalName) String() string { return string(s) }

// Kill ends the command and everything that it has started, by SIGKILL, at
// once. It returns when the agent has taken the request, as Signal does; Wait is
// bounded by WaitDelay from when Kill was called. To let the command clean up,
// end its context instead.
func (c *Cmd) Kill() error {
	if c.pid == 0 {
		return errNotStarted
	}
	c.markEnding()
	_, err := c.client.request(context.WithoutCancel(c.ctx), func(h wire.Head) wire.Message {
		return &wire.Kill{Head: h, Exec: c.id, Force: true}
	})
	return processDone(err)
}
