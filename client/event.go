package client

import (
	"context"
	"fmt"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/v1"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// deliver hands a message to the call that waits for it. It never blocks.
func (l *link) deliver(m wire.Message) error {
	switch m := m.(type) {
	case *wire.Started:
		return l.pass(m.ID, m, false)
	case *wire.Exited:
		return l.pass(m.ID, m, true)
	case *wire.Done:
		return l.pass(m.ID, m, true)
	case *wire.Error:
		if m.ID == 0 {
			return remoteError(m.Kind, m.Message)
		}
		return l.pass(m.ID, m, true)
	case *wire.Unknown:
		return nil // a later agent's
	default:
		return fmt.Errorf("%w: unexpected %T", ErrProtocol, m)
	}
}

// pass hands an event to the call of that id, if it was not given up.
func (l *link) pass(id uint64, m wire.Message, last bool) error {
	var left []*mux.Stream
	defer func() { resetAll(left) }() // without mu
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.calls[id]
	if ok {
		l.replied.Store(int64(time.Since(l.born)))
	}
	if ok && proves(m) {
		l.answered.Store(true)
	}
	switch {
	case !ok && last:
		left = l.unanswered[id]
		delete(l.unanswered, id)
		return nil
	case !ok:
		return nil
	case last:
		delete(l.calls, id)
	case c.started:
		return fmt.Errorf("%w: request %d started twice", ErrProtocol, id)
	}
	c.started = true
	c.events <- m
	return nil
}

// proves reports whether an answer shows that the connection is of use. An agent that
// takes no requests answers them, too.
func proves(m wire.Message) bool {
	e, ok := m.(*wire.Error)
	if !ok {
		return true
	}
	switch e.Kind {
	case wire.ShuttingDown, wire.Limit, v1.Undialed, v1.Superseded, v1.Lost:
		return false
	default:
		return true
	}
}

// event waits for the next event of the call. After the connection or ctx has ended, it
// still returns the events that came before.
func (c *call) event(ctx context.Context) (wire.Message, error) {
	select {
	case m := <-c.events:
		return m, nil
	default:
	}
	select {
	case m := <-c.events:
		return m, nil
	case <-ctx.Done():
	case <-c.link.done:
	}
	select {
	case m := <-c.events:
		return m, nil
	default:
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, c.link.lost()
}
