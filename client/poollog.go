package client

import (
	"errors"
	"log/slog"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/v1"
)

// Nothing here is called with the pool's mu held, nor a link's: a slog.Handler may block,
// or ask for Stats.

func (m *member) log() *slog.Logger { return m.pool.config.Logger.With("target", m.target) }

func (m *member) logConnected(l *link, took time.Duration) {
	h := l.hello
	m.log().Debug("connected", "protocol", int(h.Protocol), "version", h.Version, "boot_id", h.BootID, "agent_id", h.AgentID, "took", took)
}

// logAnswers tells that an agent answers that did not.
func (m *member) logAnswers() { m.log().Info("agent answers again") }

// logFailure tells of an attempt that has failed, the first in a row or another one.
func (m *member) logFailure(err error, first bool, failures int, wait time.Duration) {
	if dial, ok := errors.AsType[*DialError](err); ok {
		err = dial.Err
	}
	m.log().Log(m.pool.ctx, levelOf(first), "attempt failed", "error", err, "failures", failures, "next_after", wait)
}

// logFull tells of an attempt that was not made, the first in a row or another one.
func (m *member) logFull(err error, first bool) {
	m.log().Log(m.pool.ctx, levelOf(first), "attempt not made", "error", err)
}

// levelOf is that of a failure: only the first in a row is a warning.
func levelOf(first bool) slog.Level {
	if first {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// logEnd tells of the end of l, which has ended.
func (m *member) logEnd(l *link) {
	err, age := l.lost(), l.age()
	switch {
	case errors.Is(err, errIdle), errors.Is(err, ErrPoolClosed):
		m.log().Debug("connection closed", "error", err, "age", age)
	case errors.Is(err, errStale), errors.Is(err, errTooManyRetired):
		m.log().Warn("connection given up", "error", err, "age", age)
	default:
		m.log().Info("connection ended", "error", err, "age", age)
	}
}

// whyLeft returns why nothing can begin over l.
func (l *link) whyLeft() error {
	if l.hasEnded() {
		return l.lost()
	}
	return errShutDown
}

var errShutDown = errors.New("the agent is shutting down")

// wasLost reports whether l, which has ended, ended by no decision of the pool's.
func (l *link) wasLost() bool {
	err := l.lost()
	for _, decided := range []error{errIdle, errStale, errTooManyRetired, ErrPoolClosed, ErrForgotten, v1.ErrSuperseded} {
		if errors.Is(err, decided) {
			return false
		}
	}
	return true
}
