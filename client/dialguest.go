package client

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// DialGuest makes a connection to a service in the guest: one that listens on
// its loopback interface, or on a Unix socket. It needs no network in the guest.
//
//	tcp, tcp4, tcp6   "localhost:80", "127.0.0.1:80", "[::1]:80", ":80"
//	unix              "/run/docker.sock", or "@name" of an abstract one
//
// localhost, and no host at all, is 127.0.0.1 and then ::1. Other addresses are
// refused: the agent is no way into the guest's network. The agent makes the
// connection as its own user, which is root as a rule.
//
// ctx ends the dialing, and has no effect afterwards. The error is a
// *net.OpError that wraps ctx's, a [*RemoteError] (of kind [NotFound] where
// nobody serves the address, [Unsupported] where the agent is too old), or
// [ErrLost]. Over a Client from a [Pool] the dialing is tried again, once, where
// the connection to the agent has ended meanwhile, or the agent shuts down.
//
// The caller closes the connection. It is safe for concurrent use, and like a
// *net.TCPConn it also has
//
//	CloseWrite() error
//
// which ends what the service gets, while reading goes on. Read returns io.EOF
// only where the service has ended what it sends; where its connection was broken
// off, a *net.OpError that wraps a [*RemoteError], and where the connection to the
// agent has ended, one that wraps [ErrLost]. What is written is on its way when
// Write returns, and no more: a service that has ended what it sends and then
// closes early does not make Write fail, and what it does not take is thrown away.
//
// Close does not wait; the service still gets what was written before, as long as
// it takes some every 5 seconds. (As over TCP, one that sends meanwhile may lose
// the last of it: to be sure, call CloseWrite and read to the end.)
func (c *Client) DialGuest(ctx context.Context, network, address string) (net.Conn, error) {
	to := guestAddr{network, address}
	var g *guestConn
	err := c.somewhere(ctx, func(c *Client) (err error) {
		g, err = c.dialGuest(ctx, to)
		return err
	})
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: to, Err: err}
	}
	return g, nil
}

// dialGuest dials over c, which has been marked as in use; where it fails, it is
// no longer.
func (c *Client) dialGuest(ctx context.Context, to guestAddr) (*guestConn, error) {
	g := &guestConn{client: c, remote: to}
	g.id, g.events = c.begin()
	if err := g.open(ctx); err != nil {
		if g.stream != nil {
			c.letGo(g.id, g.stream)
		} else {
			c.giveUp(g.id)
		}
		c.release()
		return nil, err
	}
	return g, nil
}

// open opens the stream, sends the request and waits for the answer. The
// connection may take no bytes for as long as a VM is paused, but ctx is obeyed.
func (g *guestConn) open(ctx context.Context) error {
	c := g.client
	if err := c.beginSending(ctx); err != nil {
		return err
	}
	sent := make(chan struct{})
	frame, err := g.request()
	if err != nil {
		c.endSending()
		return err
	}
	go func() { // ends with the write, or the connection
		_, _ = c.control.Write(frame)
		c.endSending()
		close(sent)
	}()
	m, err := c.event(ctx, g.events)
	if err == nil {
		switch m := m.(type) {
		case *wire.Started:
			return nil
		case *wire.Error:
			err = remoteError(m.Kind, m.Message)
		default:
			err = fmt.Errorf("%w: unexpected %T for a forward", ErrProtocol, m)
		}
	}
	if ctx.Err() != nil {
		go func() { <-sent; c.kill(g.id) }() // likewise
	}
	return err
}

func (g *guestConn) request() ([]byte, error) {
	var err error
	if g.stream, err = g.client.mux.Open(); errors.Is(err, ErrLost) {
		<-g.client.done // its reader learns why
		return nil, g.client.lost()
	} else if err != nil {
		return nil, err
	}
	g.stream.Interruptible()
	frame, err := wire.Append(nil, &wire.Forward{
		Head: wire.Head{ID: g.id}, Network: g.remote.network, Address: g.remote.address, Stream: g.stream.ID(),
	})
	if err != nil {
		resetAll([]*mux.Stream{g.stream}) // no request names it
		g.stream = nil
		return nil, fmt.Errorf("client: address too long: %w", err)
	}
	return frame, nil
}

// kill asks the agent to end what an exec or a forward has begun, and does not
// wait for its answer.
func (c *Client) kill(exec uint64) {
	id, _ := c.begin()
	c.giveUp(id)
	_ = wire.Write(c.control, &wire.Kill{Head: wire.Head{ID: id}, Exec: exec})
}
