package client

import (
	"errors"
	"fmt"

	"github.com/cocoonstack/cocoon-agent/internal/v1"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// An oldAgent stands for an agent that speaks version 1.
type oldAgent struct {
	*v1.Agent
	target string
	chosen bool   // version 1 was asked for
	last   func() // is called at the end; nil: there is nothing to do
}

// wait waits until nothing of it is left, once the link has closed it.
func (a *oldAgent) wait() {
	a.Wait()
	if a.last != nil {
		a.last()
	}
}

// errMayHaveRun is wrapped if a command may have been run by an agent that speaks
// version 1. It wraps ErrLost.
var errMayHaveRun = fmt.Errorf("%w", ErrLost)

// oldError returns the error that m stands for, of an agent that speaks version 1.
// nil: m is the agent's own error.
func (l *link) oldError(m *wire.Error) error {
	if l.old == nil {
		return nil
	}
	switch m.Kind {
	case v1.Undialed:
		return &DialError{Target: l.old.target, Err: errors.New(printable(m.Message, maxMessage))}
	case v1.NotSpoken:
		return fmt.Errorf("%w: %s", ErrNotSpoken, printable(m.Message, maxMessage))
	case v1.Superseded:
		l.retire(v1.ErrSuperseded)
		return fmt.Errorf("%w: %w", ErrLost, v1.ErrSuperseded)
	case v1.Lost:
		return fmt.Errorf("%w: %s", errMayHaveRun, printable(m.Message, maxMessage))
	default:
		return nil
	}
}

// execError returns the error of an exec that m answers.
func (l *link) execError(m *wire.Error) error {
	if err := l.oldError(m); err != nil {
		return err
	}
	if m.Behind != nil {
		return behindError(m.Behind)
	}
	switch m.Reason {
	case wire.ReasonTimeout, wire.ReasonKilled, wire.ReasonShutdown:
		return &ExitError{ProcessState: l.hungState(m)}
	default:
		return remoteError(m.Kind, m.Message)
	}
}

// hungState is how a command ended whose start hung: by the agent's SIGKILL.
func (l *link) hungState(m *wire.Error) *ProcessState {
	return newProcessState(0, &wire.Exited{
		Code: -1, Signal: "KILL", SignalNumber: 9, Reason: m.Reason, Message: m.Message,
	}, l.hello)
}
