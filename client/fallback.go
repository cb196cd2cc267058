package client

import (
	"context"
	"errors"
	"io"
	"net"

	"github.com/cocoonstack/cocoon-agent/internal/v1"
)

// A route is a way to an agent, which may be gone more than once.
type route struct {
	dial   func(context.Context) (net.Conn, error)
	target string // for errors

	// Of a pool: what it bounds of version 1. nil: nothing is shared.
	pace   *pace
	memory *v1.Memory
}

// client returns a Client that speaks p.
func (r route) client(ctx context.Context, p Protocol) (*Client, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	if p == Protocol1 {
		return r.oldClient(true)
	}
	conn, err := r.dial(ctx)
	if err != nil {
		return nil, err
	}
	if p == ProtocolAuto {
		return newClientWithin(ctx, conn, r.unchosen)
	}
	return newClientWithin(ctx, conn, nil)
}

// oldClient returns a Client that speaks version 1. chosen: by the caller, who
// wants no other version.
func (r route) oldClient(chosen bool) (*Client, error) {
	return newClient(r.oldAgent(chosen), nil)
}

func (r route) unchosen() *oldAgent { return r.oldAgent(false) }

// oldAgent returns an agent that speaks version 1 over connections of this route.
func (r route) oldAgent(chosen bool) *oldAgent {
	return &oldAgent{chosen: chosen, target: r.target, Agent: v1.NewAgent(v1.Config{
		Memory: r.memory,
		Dial: func(ctx context.Context) (io.ReadWriteCloser, error) {
			conn, err := r.pace.dial(ctx, r.dial)
			if err != nil {
				return nil, err
			}
			return conn, nil
		},
		Probe: func(ctx context.Context) error {
			err := r.probe(ctx)
			if chosen && errors.Is(err, v1.ErrSuperseded) {
				return nil
			}
			return err
		},
	})}
}

// probe asks the agent whether it still speaks version 1 only.
func (r route) probe(ctx context.Context) error {
	conn, err := r.dial(ctx)
	if err != nil {
		return err
	}
	c, err := newClientWithin(ctx, conn, nil)
	if err == nil {
		defer c.Close()
		err = c.Ready(ctx)
	}
	switch {
	case err == nil:
		return v1.ErrSuperseded
	case speaksVersion1(err):
		return nil
	default:
		return err
	}
}

// newClientWithin is newClient within ctx.
func newClientWithin(ctx context.Context, conn io.ReadWriteCloser, older func() *oldAgent) (*Client, error) {
	if conn == nil {
		return nil, errors.New("client: nil connection")
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	c, err := newClient(conn, older)
	if !stop() {
		// ctx has ended, and conn is closed or about to be.
		if c != nil {
			_ = c.Close()
		}
		return nil, ctx.Err()
	}
	return c, err
}

// newClient returns a Client over conn. If the agent refuses version 2 and older is not
// nil, the Client speaks version 1 to what older returns.
func newClient(conn io.ReadWriteCloser, older func() *oldAgent) (*Client, error) {
	l, err := newLink(conn)
	if older != nil && speaksVersion1(err) { // it has answered already
		l, err = newLink(older())
		older = nil
	}
	if err != nil {
		return nil, err
	}
	c := &Client{link: l, older: older, done: make(chan struct{})}
	if err := l.start(c); err != nil && older == nil {
		_ = c.Close()
		return nil, beforeHello(err)
	}
	// If hello cannot be sent for another reason, such as a refusal that has come
	// already, the link's reader finds it out.
	return c, nil
}

// fallBack puts a link that speaks version 1 in the place of the current one, which
// ends by err, if err is the refusal of an agent that speaks no other version.
func (c *Client) fallBack(err error) (replaced bool) {
	if c.older == nil || !speaksVersion1(err) {
		return false
	}
	l, err := newLink(c.older())
	if err != nil {
		return false // the refusal is why the Client ends
	}
	c.older = nil
	c.mu.Lock()
	c.link = l
	c.mu.Unlock()
	_ = l.start(c) // if it fails, the link's reader learns why
	return true
}
