package client

import (
	"context"
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
// The host localhost, or an empty one, means 127.0.0.1 and then ::1. The agent refuses
// other addresses: it does not lead into the guest's network. The agent makes the
// connection as its own user, which is root as a rule.
//
// ctx ends the dialing, and has no effect afterwards. The error is a *net.OpError. It
// wraps ctx's error, [ErrLost], or a [*RemoteError]: of kind [NotFound] if nobody
// serves the address, [Unsupported] if the agent is too old. A Client from a [Pool]
// tries once more over another connection if its own has ended meanwhile, or the agent
// shuts down.
//
// The connection is a [*GuestConn], which the caller closes.
func (c *Client) DialGuest(ctx context.Context, network, address string) (net.Conn, error) {
	g := newGuestConn(network, address)
	err := c.withRetry(ctx, func(l *link) error { return g.dial(ctx, l) })
	if err != nil {
		return nil, g.dialError(err)
	}
	return g, nil
}

// OpenGuest is DialGuest that does not wait for the agent's answer: what is written at
// once reaches the service half a round trip earlier. If the connection is not made, Read
// returns the error that DialGuest would have returned: a *net.OpError with Op "dial". Until
// then Write does not fail, and its bytes are thrown away. Nothing is tried again once
// the request was sent.
//
// ctx ends the wait for the turn to send, while the connection to the agent takes no
// bytes, and has no effect afterwards.
func (c *Client) OpenGuest(ctx context.Context, network, address string) (*GuestConn, error) {
	g := newGuestConn(network, address)
	err := c.withRetry(ctx, func(l *link) error { return g.open(ctx, l) })
	if err != nil {
		return nil, g.dialError(err)
	}
	return g, nil
}

func newGuestConn(network, address string) *GuestConn {
	return &GuestConn{remote: guestAddr{network, address}, local: guestAddr{network, "host"}}
}

func (g *GuestConn) dialError(err error) error {
	return &net.OpError{Op: "dial", Net: g.remote.network, Addr: g.remote, Err: err}
}

// open sends the request over a link, which is marked as in use. If open fails, it has
// released the link.
func (g *GuestConn) open(ctx context.Context, l *link) error {
	call := l.begin()
	if err := call.send(ctx, g.request); err != nil {
		call.drop()
		l.release()
		return err
	}
	g.call = call
	return nil
}

// dial dials over a link, which is marked as in use. If dial fails, it has released
// the link.
func (g *GuestConn) dial(ctx context.Context, l *link) error {
	call, answer, err := l.call(ctx, g.request)
	if err == nil {
		if err = forwarded(answer); err != nil {
			call.letGo()
		}
	}
	if err != nil {
		l.release()
		return err
	}
	g.call, g.answered = call, true
	if started := answer.(*wire.Started); g.from != 0 {
		g.remote.address = started.Address
	}
	return nil
}

// request opens the stream of the connection, and returns the encoded request.
func (g *GuestConn) request(call *call) ([]byte, error) {
	call.begins = true
	stream, err := call.link.mux.Open()
	if err != nil {
		return nil, err
	}
	stream.Interruptible()
	g.stream, call.streams = stream, []*mux.Stream{stream}
	frame, err := wire.Append(nil, g.message(call.id))
	if err != nil {
		return nil, fmt.Errorf("client: address too long: %w", err)
	}
	return frame, nil
}

func (g *GuestConn) message(id uint64) wire.Message {
	head := wire.Head{ID: id}
	if g.from != 0 {
		return &wire.Accept{Head: head, Listener: g.from, Stream: g.stream.ID()}
	}
	return &wire.Forward{Head: head, Network: g.remote.network, Address: g.remote.address, Stream: g.stream.ID()}
}

// forwarded returns the error in the answer to a forward.
func forwarded(answer wire.Message) error {
	switch m := answer.(type) {
	case *wire.Started:
		return nil
	case *wire.Error:
		return remoteError(m.Kind, m.Message)
	default:
		return fmt.Errorf("%w: unexpected %T for a forward", ErrProtocol, m)
	}
}
