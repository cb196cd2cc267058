package client

import (
	"errors"
	"sync/atomic"
)

// CommandStats is how many commands of a [Pool]'s Clients have ended in which way. Each
// whose Start failed, and each whose Wait has returned, is counted once. One whose fields
// Start refuses is not, nor is a Get that fails.
type CommandStats struct {
	Succeeded    uint64 `json:"succeeded"`     // Wait returned nil
	Failed       uint64 `json:"failed"`        // by an exit code other than 0
	Signaled     uint64 `json:"signaled"`      // by a signal that was not sent to end it
	TimedOut     uint64 `json:"timed_out"`     // by Cmd.Timeout
	Ended        uint64 `json:"ended"`         // by its context, Kill, Forget, Close, or the agent's shutdown or limits; WaitDelay may have been over first
	Incomplete   uint64 `json:"incomplete"`    // output is missing, or a Writer, the Reader or MaxOutput ended Wait
	Lost         uint64 `json:"lost"`          // started, and how it ended is not known: the connection ended
	MaybeStarted uint64 `json:"maybe_started"` // it is not known whether it has started
	NotStarted   uint64 `json:"not_started"`   // the connection, the agent or the context had ended first
	Limited      uint64 `json:"limited"`       // refused, as a limit or a resource of the guest is used up
	Refused      uint64 `json:"refused"`       // refused for another reason, such as NotFound
}

// An outcome is how a command has ended: one of the fields of CommandStats, in their order.
type outcome int

const (
	succeeded outcome = iota
	failed
	signaled
	timedOut
	endedBy
	incomplete
	lostExit
	maybeStarted
	notStarted
	limited
	refused
	numOutcomes
)

// A commandCounts counts the commands of a Pool. A nil one counts none.
type commandCounts [numOutcomes]atomic.Uint64

func (c *commandCounts) count(o outcome) {
	if c != nil {
		c[o].Add(1)
	}
}

func (c *commandCounts) stats() CommandStats {
	n := func(o outcome) uint64 { return c[o].Load() }
	return CommandStats{
		Succeeded: n(succeeded), Failed: n(failed), Signaled: n(signaled), TimedOut: n(timedOut), Ended: n(endedBy),
		Incomplete: n(incomplete), Lost: n(lostExit), MaybeStarted: n(maybeStarted),
		NotStarted: n(notStarted), Limited: n(limited), Refused: n(refused),
	}
}

// startOutcome classes the error of a Start that has asked the agent.
func startOutcome(err error) outcome {
	if _, ok := errors.AsType[*MaybeStartedError](err); ok {
		return maybeStarted
	}
	if exit, ok := errors.AsType[*ExitError](err); ok { // the start hung, and the agent has ended it
		return exitOutcome(exit)
	}
	remote, ok := errors.AsType[*RemoteError](err)
	switch {
	case !ok || remote.Kind == ShuttingDown:
		return notStarted
	case remote.Kind == Limit:
		return limited
	default:
		return refused
	}
}

// waitOutcome classes what Wait returns.
func waitOutcome(err error) outcome {
	if err == nil {
		return succeeded
	}
	if _, ok := errors.AsType[*LostExitError](err); ok {
		return lostOutcome(err)
	}
	if exit, ok := err.(*ExitError); ok { //nolint:errorlint // a Writer's error may wrap one of another command
		return exitOutcome(exit)
	}
	return incomplete
}

// lostOutcome tells what this program has given up from what was taken from it.
func lostOutcome(err error) outcome {
	for _, ours := range []error{ErrWaitDelay, ErrForgotten, ErrPoolClosed, ErrClosed} {
		if errors.Is(err, ours) {
			return endedBy
		}
	}
	return lostExit
}

func exitOutcome(e *ExitError) outcome {
	switch e.Reason() {
	case ReasonExit:
		return failed
	case ReasonSignal:
		return signaled
	case ReasonTimeout:
		return timedOut
	default:
		return endedBy
	}
}
