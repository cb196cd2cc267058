package client

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// An Exec is a command that runs in a guest, or has ended and is kept there. This client
// need not have started it.
// The guest describes it: texts are printable, and of some KiB at most.
type Exec struct {
	Handle  []byte // names it for [Client.Attach], KillExec, SignalExec and ReleaseExec
	PID     int    // in the guest
	Command string // for people
	User    string // as it was asked for; empty: the agent's own
	TTY     bool
	Keep    bool // it lives on when its connection ends

	Connected bool          // its connection has not ended
	Running   time.Duration // for how long

	// Of a command with Detach: [Client.Attach] can read its outputs from the oldest
	// offsets on. The other two are the lengths of the outputs so far, in bytes.
	// Input says that its stdin has not ended and that Attach can write it.
	Detached, Input            bool
	StdoutOldest, StderrOldest uint64
	StdoutBytes, StderrBytes   uint64

	// End is how the command has ended, such as "exit status 1", and ExitStatus the same
	// as a shell has it, 0 to 255. End is empty if the command runs.
	End        string
	ExitStatus int
}

// An ExecList is what [Client.Execs] returns.
type ExecList struct {
	Execs []Exec // those that run, the oldest first
	Ended []Exec // those that have ended and that the agent keeps, likewise
	More  uint64 // how many others run
}

// Bounds of what a guest may say of an exec.
const (
	handleSize     = 16   // bytes
	maxExecCommand = 1024 // bytes
	maxExecUser    = 256  // bytes
)

// Execs returns the commands that run in the guest, over all connections of callers of
// this caller's class. It waits for the agent's greeting first. If the agent does not
// know this request, Execs does not send it, and the error is a [*RemoteError] of kind
// [Unsupported]. An answer that makes no sense is an error that wraps [ErrProtocol].
func (c *Client) Execs(ctx context.Context) (*ExecList, error) {
	if err := c.needs(ctx, wire.FeatureExecs); err != nil {
		return nil, err
	}
	done, err := c.request(ctx, func(h wire.Head) wire.Message { return &wire.Execs{Head: h} })
	if err != nil {
		return nil, err
	}
	if done.Execs == nil {
		return nil, fmt.Errorf("%w: answer without a list of execs", ErrProtocol)
	}
	list := &ExecList{More: done.Execs.More}
	h := c.current().hello
	if list.Execs, err = readExecs(done.Execs.Running, h); err != nil {
		return nil, err
	}
	if list.Ended, err = readExecs(done.Execs.Ended, h); err != nil {
		return nil, err
	}
	return list, nil
}

// FindExec returns the command that handle names, from the list of [Client.Execs]. If there is
// none, the error is a [*RemoteError] of kind [NotFound]; other errors are those of Execs.
func (c *Client) FindExec(ctx context.Context, handle []byte) (Exec, error) {
	list, err := c.Execs(ctx)
	if err != nil {
		return Exec{}, err
	}
	for _, e := range slices.Concat(list.Execs, list.Ended) {
		if bytes.Equal(e.Handle, handle) {
			return e, nil
		}
	}
	return Exec{}, &RemoteError{Kind: NotFound, Message: fmt.Sprintf("no command with handle %x", handle)}
}

// readExecs returns the execs in a list of an agent that greeted by h.
func readExecs(list []wire.ExecState, h Hello) ([]Exec, error) {
	var all []Exec
	for _, e := range list {
		if err := checkExec(&e); err != nil {
			return nil, err
		}
		x := Exec{
			Handle: e.Handle, PID: e.PID, TTY: e.TTY, Keep: e.Keep, Connected: e.Connected,
			Command: printable(e.Command, maxExecCommand), User: printable(e.User, maxExecUser),
			Running:  time.Duration(e.RunningMS) * time.Millisecond,
			Detached: e.Detached, Input: e.Input, StdoutOldest: e.StdoutOldest, StderrOldest: e.StderrOldest,
			StdoutBytes: e.StdoutBytes, StderrBytes: e.StderrBytes,
		}
		if end := e.Exited; end != nil {
			m := &wire.Exited{Code: end.Code, Signal: end.Signal, SignalNumber: end.SignalNumber, Reason: end.Reason, Status: end.Status}
			if err := checkExited(m, h); err != nil {
				return nil, err
			}
			state := newProcessState(e.PID, m, h)
			x.End, x.ExitStatus = state.String(), state.ExitStatus()
		}
		all = append(all, x)
	}
	return all, nil
}

func checkExec(e *wire.ExecState) error {
	switch {
	case len(e.Handle) != handleSize:
		return fmt.Errorf("%w: an exec with a handle of %d bytes: want %d", ErrProtocol, len(e.Handle), handleSize)
	case e.PID < 1:
		return fmt.Errorf("%w: an exec with pid %d", ErrProtocol, e.PID)
	case e.RunningMS > uint64(math.MaxInt64/time.Millisecond):
		return fmt.Errorf("%w: an exec that has run for %d ms", ErrProtocol, e.RunningMS)
	}
	return nil
}

// KillExec ends the command that handle names, and everything that it has started, even
// if the command belongs to another connection, or its connection has ended. The agent
// sends SIGTERM, and SIGKILL after 5 seconds; if force is true, SIGKILL at once.
// KillExec returns when the agent has taken the request, not when the command has
// ended.
//
// If no such command runs, the error is os.ErrProcessDone and a [*RemoteError] of kind
// [NotFound]. If the agent does not know handles, nothing is sent, and the error is a
// RemoteError of kind [Unsupported].
func (c *Client) KillExec(ctx context.Context, handle []byte, force bool) error {
	if len(handle) != handleSize {
		return fmt.Errorf("client: a handle of %d bytes: want %d", len(handle), handleSize)
	}
	if err := c.needs(ctx, wire.FeatureExecs); err != nil {
		return err
	}
	_, err := c.request(ctx, func(h wire.Head) wire.Message {
		return &wire.Kill{Head: h, Handle: handle, Force: force}
	})
	return processDone(err)
}

// SignalExec sends a signal to the command that handle names, as [Cmd.Signal] does to its own.
// Its connection may be another one, or have ended. The errors are those of [Client.KillExec];
// the agent must have the feature "detach".
func (c *Client) SignalExec(ctx context.Context, handle []byte, sig SignalName) error {
	if len(handle) != handleSize {
		return fmt.Errorf("client: a handle of %d bytes: want %d", len(handle), handleSize)
	}
	if err := c.needs(ctx, wire.FeatureDetach); err != nil {
		return err
	}
	_, err := c.request(ctx, func(h wire.Head) wire.Message {
		return &wire.Signal{Head: h, Handle: handle, Signal: string(sig)}
	})
	return processDone(err)
}

// Handle returns 16 bytes that name the command for [Client.KillExec], over any
// connection to the agent, and no other command ever. It returns nil before Start, and
// if the agent gives no handles.
func (c *Cmd) Handle() []byte { return bytes.Clone(c.handle) }

// handleOf returns the handle in m. One of another length names nothing.
func handleOf(m *wire.Started) []byte {
	if len(m.Handle) != handleSize {
		return nil
	}
	return m.Handle
}

// needs waits for the agent's greeting, and returns a RemoteError if that does not
// name the feature: an older agent would ignore what it does not know.
func (c *Client) needs(ctx context.Context, feature string) error {
	switch l := c.current(); {
	case l == nil:
		return errZeroClient
	case l.old != nil:
		return unsupported("the agent speaks protocol version 1, which has no %q", feature)
	}
	h, err := c.Hello(ctx)
	if err != nil {
		return err
	}
	if h.Protocol == Protocol1 {
		return unsupported("the agent speaks protocol version 1, which has no %q", feature)
	}
	if !h.has(feature) {
		return unsupported("the agent, version %q, does not have %q: it is too old, or its system cannot do that", h.Version, feature)
	}
	return nil
}

func unsupported(format string, args ...any) error {
	return &RemoteError{Kind: Unsupported, Message: fmt.Sprintf(format, args...)}
}
