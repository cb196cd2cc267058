package client

import (
	"context"
	"fmt"
)

// another returns a link for a command that has not started over l, to the agent
// that l was connected to. The link is marked as in use.
func (m *member) another(ctx context.Context, l *link) (*link, error) {
	p := m.pool
	p.mu.Lock()
	err := m.goneLocked()
	if err == nil {
		m.retireLocked(l)
	}
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	for {
		c, err := p.Get(ctx, m.target)
		if err != nil {
			return nil, err
		}
		next := c.current()
		if err := next.hello.checkSame(l.hello, m.target); err != nil {
			m.log().Warn("nothing was tried again", "error", err)
			return nil, err
		}
		if next.use() != nil {
			continue // the pool has closed it again, for lack of room, or it has ended
		}
		p.mu.Lock()
		if err = m.goneLocked(); err == nil {
			p.counts.Retries++
		}
		p.mu.Unlock()
		if err != nil {
			next.release()
			return nil, err
		}
		m.log().Info("tried again over another connection", "because", l.whyLeft())
		return next, nil
	}
}

// goneLocked returns an error if the VM that m's connections led to may be gone.
// It is called with mu held.
func (m *member) goneLocked() error {
	switch {
	case m.forgotten:
		return ErrForgotten
	case m.dropped && m.forgets != m.pool.forgets:
		// The call may have been about m's target: the pool does not keep the names
		// of targets that nobody asks for.
		return fmt.Errorf("%w, or were forgotten since this Client was obtained: call Get again", ErrForgotten)
	default:
		return nil
	}
}
