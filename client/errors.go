package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Errors to test for with errors.Is.
var (
	// ErrLost is wrapped by every error whose cause is that the connection
	// ended: "the transport broke", as against a [*RemoteError], "the agent
	// said no".
	ErrLost = mux.ErrLost

	// ErrClosed is wrapped, besides ErrLost, after [Client.Close].
	ErrClosed = mux.ErrClosed

	// ErrNotSpoken says that agent and client have no protocol version in common.
	ErrNotSpoken = errors.New("no common protocol version")

	// ErrProtocol says that the agent has broken the protocol's rules.
	ErrProtocol = mux.ErrProtocol

	// ErrAnotherAgent says that nothing was tried again because another agent
	// answers now: see [Pool].
	ErrAnotherAgent = errors.New("a different agent answered")

	// ErrForgotten is wrapped, besides ErrLost, after [Pool.Forget].
	ErrForgotten = errors.New("the VM is gone (Pool.Forget)")

	// ErrWaitDelay says that a command whose context has ended, or for which Kill
	// was called, did not end within [Cmd.WaitDelay], or that the agent did not
	// answer a request about it. The command may still run.
	ErrWaitDelay = errors.New("the command did not end in time")
)

// A Kind classes a [RemoteError]. The set is closed.
type Kind string

// The kinds of [RemoteError].
const (
	BadRequest       Kind = Kind(wire.BadRequest)       // the request makes no sense, or not in this guest
	NotFound         Kind = Kind(wire.NotFound)         // no such command; of a request about a command: it runs no longer
	PermissionDenied Kind = Kind(wire.PermissionDenied) // not executable, or not allowed
	Unsupported      Kind = Kind(wire.Unsupported)      // this agent cannot do it
	Limit            Kind = Kind(wire.Limit)            // a limit or a resource of the guest is used up
	ShuttingDown     Kind = Kind(wire.ShuttingDown)     // the agent takes no new work
	Internal         Kind = Kind(wire.Internal)         // the agent's own fault
)

// A RemoteError is the agent's refusal. The command has not run.
type RemoteError struct {
	Kind    Kind
	Message string // the agent's, for people: printable, and of some KiB at most
}

func (e *RemoteError) Error() string { return e.Message }

// remoteError makes an error of the agent's. A kind that is not known is Internal.
func remoteError(kind wire.ErrorKind, message string) *RemoteError {
	k := Kind(kind)
	switch k {
	case BadRequest, NotFound, PermissionDenied, Unsupported, Limit, ShuttingDown, Internal:
	default:
		k = Internal
	}
	return &RemoteError{Kind: k, Message: printable(message, maxMessage)}
}

// A DialError says that there is no usable connection to an agent: none was made, the agent
// did not greet, or PoolConfig.Verify has rejected it. Nothing has run.
type DialError struct {
	Target string
	Err    error
}

func (e *DialError) Error() string { return fmt.Sprintf("connect to %s: %v", e.Target, e.Err) }

// Unwrap returns the cause.
func (e *DialError) Unwrap() error { return e.Err }

// A timeoutError is err, which is a context's, for people.
type timeoutError struct {
	within time.Duration
	err    error
}

func (e *timeoutError) Error() string { return fmt.Sprintf("no answer within %v", e.within) }
func (e *timeoutError) Unwrap() error { return e.err }

// A MaybeStartedError says that the connection ended, or the caller's context,
// after the request for a command may have reached the agent, and before the agent said
// whether it has started. The library never tries such a command again, unless it has a Key
// ([Outlive]).
type MaybeStartedError struct {
	Err error
}

func (e *MaybeStartedError) Error() string {
	return fmt.Sprintf("the command may or may not have started: %v", e.Err)
}

// Unwrap returns the cause.
func (e *MaybeStartedError) Unwrap() error { return e.Err }

// A LostExitError says that the agent has reported the start of a command and that its exit
// status is not known. The connection ended first, WaitDelay was over (the error then wraps
// [ErrWaitDelay]), the agent could not find it out, or SIGKILL has not ended it. The command
// may still run, and if its start hangs, may begin later.
type LostExitError struct {
	PID int // in the guest
	Err error
}

func (e *LostExitError) Error() string {
	return fmt.Sprintf("exit status of process %d lost: %v", e.PID, e.Err)
}

// Unwrap returns the cause.
func (e *LostExitError) Unwrap() error { return e.Err }

// A TruncatedError says that a command has ended and that part of its output
// did not arrive.
type TruncatedError struct {
	Stream    string // "stdout" or "stderr"
	Got, Sent uint64 // bytes
	State     *ProcessState
}

func (e *TruncatedError) Error() string {
	return fmt.Sprintf("%s truncated: received %d of %d bytes", e.Stream, e.Got, e.Sent)
}

// Unwrap returns [ErrLost].
func (e *TruncatedError) Unwrap() error { return ErrLost }

// An ExitError says that a command has ended without success: by a code other than 0,
// or by a signal. With any code it also says that the command was ended by its context,
// its Timeout, Kill or the agent's shutdown. [Cmd.Start] returns it if that was before
// the command ran.
type ExitError struct {
	*ProcessState

	// Stderr is what the command wrote to its standard error, if [Cmd.Output] has
	// collected it. If that is more than 64 KiB, Stderr has its first and its last 32
	// KiB.
	Stderr []byte

	cause error // the context's error, if that ended the command
}

// Error says how the command ended, such as "exit status 7" or "signal KILL".
func (e *ExitError) Error() string { return e.String() }

// Unwrap returns the context's error if its end ended the command,
// [context.DeadlineExceeded] if its Timeout did, and else nil.
func (e *ExitError) Unwrap() error {
	if e.cause == nil && e.Reason() == ReasonTimeout {
		return context.DeadlineExceeded
	}
	return e.cause
}
