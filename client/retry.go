package client

import (
	"context"
	"fmt"
)

// another returns a connection for a command that c has not started, to the agent
// that c was connected to. What it returns has been marked as in use.
func (m *member) another(ctx context.Context, c *Client) (*Client, error) {
	p := m.pool
	p.mu.Lock()
	err := m.goneLocked()
	if err == nil {
		m.retire(c)
	}
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	for {
		next, err := p.Get(ctx, m.target)
		if err != nil {
			return nil, err
		}
		if err := next.hello.checkSame(c.hello, m.target); err != nil {
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
