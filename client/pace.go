package client

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A pace delays connections of version 1, which carry one command each, to one target.
// It delays the next one after a useless one: it could not be made, or it ended before
// the agent had said anything. A nil pace delays none.
type pace struct {
	config *PoolConfig

	mu       sync.Mutex
	failures int       // in a row
	retryAt  time.Time // of the next connection
}

// dial makes a connection by dial when the back-off has passed.
func (p *pace) dial(ctx context.Context, dial func(context.Context) (net.Conn, error)) (net.Conn, error) {
	if p == nil {
		return dial(ctx)
	}
	if err := p.await(ctx); err != nil {
		return nil, err
	}
	conn, err := dial(ctx)
	if err != nil {
		if ctx.Err() == nil {
			p.failed()
		}
		return nil, err
	}
	return &pacedConn{Conn: conn, pace: p}, nil
}

func (p *pace) await(ctx context.Context) error {
	p.mu.Lock()
	wait := time.Until(p.retryAt)
	p.mu.Unlock()
	return sleep(ctx, wait)
}

// sleep returns nil after d, or the error of ctx if that ends before.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// failed counts a connection that was of no use. Those that fail together with it, of
// commands at the same time, count once.
func (p *pace) failed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Before(p.retryAt) {
		return
	}
	p.retryAt = now.Add(p.config.backOff(p.failures))
	p.failures++
}

func (p *pace) succeeded() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failures, p.retryAt = 0, time.Time{}
}

// A pacedConn tells its pace whether it was of use.
type pacedConn struct {
	net.Conn
	pace   *pace
	told   atomic.Bool
	closed atomic.Bool // by this side: that says nothing of the agent
}

func (c *pacedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	switch {
	case n > 0:
		if !c.told.Swap(true) {
			c.pace.succeeded()
		}
	case err != nil && !c.closed.Load():
		if !c.told.Swap(true) {
			c.pace.failed()
		}
	}
	return n, err
}

// Close closes the connection.
func (c *pacedConn) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}
