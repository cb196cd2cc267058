package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// PID returns the pid of the command's process in the guest, or 0 before Start.
func (c *Cmd) PID() int { return c.pid }

// Signal sends a signal to the foreground job of the command's terminal. A command
// without a terminal gets it itself, and so does each process that it has started. sig
// is a syscall.Signal, by its Linux number, or a [SignalName]. Signal 0 only finds out
// whether the command runs, as for an os.Process.
//
// Signal returns when the agent has sent the signal, when the connection has ended, or
// when Wait has returned. If the VM is paused, that takes as long as the pause. If the
// command's context has ended, or Kill was called, Signal waits for the answer for
// WaitDelay at most, and its error then wraps [ErrWaitDelay]. If the command has ended,
// the error is os.ErrProcessDone and a [*RemoteError] of kind [NotFound].
func (c *Cmd) Signal(sig os.Signal) error {
	if c.pid == 0 {
		return errNotStarted
	}
	var name string
	switch s := sig.(type) {
	case syscall.Signal:
		if s == 0 {
			return c.alive()
		}
		name = strconv.Itoa(int(s))
	case SignalName:
		name = string(s)
	default:
		return fmt.Errorf("client: signal %v: want a syscall.Signal or a SignalName", sig)
	}
	return c.control(func(h wire.Head) wire.Message {
		return &wire.Signal{Head: h, Exec: c.call.Load().id, Signal: name}
	})
}

// alive returns nil if the command runs. The agent's answer to a ping comes after all that
// it has said before.
func (c *Cmd) alive() error {
	if err := c.control(ping); err != nil {
		return err
	}
	if len(c.call.Load().events) > 0 {
		return processDone(errEnded())
	}
	return nil
}

// control sends a request about the command and waits for its answer, for as long as
// somebody may want it: until Wait has returned, and for WaitDelay at most once the
// command is being ended. So a guest that never answers keeps neither a caller nor
// the connection.
func (c *Cmd) control(message func(wire.Head) wire.Message) error {
	ended := c.waitOver
	select {
	case <-ended:
		if c.ProcessState != nil {
			return processDone(errEnded())
		}
		ended = nil // Wait has given up, and the command may still run
	default:
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(c.ctx))
	defer cancel(nil)
	go c.bound(ctx, cancel, ended) // stopped by cancel
	_, err := c.call.Load().link.request(ctx, message)
	if errors.Is(err, context.Canceled) {
		err = context.Cause(ctx)
	}
	return processDone(err)
}

// bound cancels a request about the command when nobody may want its answer any
// more. ended is closed when Wait has returned; nil: it had before.
func (c *Cmd) bound(ctx context.Context, cancel context.CancelCauseFunc, ended <-chan struct{}) {
	var late <-chan time.Time
	ending := c.ending
	if ended == nil {
		ending = nil
		late = time.After(c.waitDelay())
	}
	for {
		select {
		case <-ending:
			ending = nil
			late = time.After(c.waitDelay())
		case <-late:
			cancel(fmt.Errorf("client: no answer from the agent: %w", c.late()))
			return
		case <-ended:
			if c.ProcessState != nil {
				cancel(errEnded())
			} else {
				cancel(errUnanswered)
			}
			return
		case <-ctx.Done():
			return
		}
	}
}

var errUnanswered = errors.New("client: the agent did not answer before Wait returned")

// errEnded is what the agent would answer to a request about a command that has ended.
func errEnded() error {
	return &RemoteError{Kind: NotFound, Message: "the command has ended"}
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
// once. It returns when the agent has taken the request, as Signal does. Kill itself
// and Wait are bounded by WaitDelay from when Kill was called. To let the command
// clean up, end its context instead.
func (c *Cmd) Kill() error {
	if c.pid == 0 {
		return errNotStarted
	}
	c.markEnding()
	return c.control(func(h wire.Head) wire.Message {
		return &wire.Kill{Head: h, Exec: c.call.Load().id, Force: true}
	})
}
