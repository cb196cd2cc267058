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
// The caller closes the connection. It is safe for concurrent use, and like a
// *net.TCPConn it also has
//
//	CloseWrite() error
//
// CloseWrite ends what the service gets, while reading goes on. Read returns io.EOF
// only when the service has ended what it sends. If the service's connection was broken
// off, Read returns a *net.OpError that wraps a [*RemoteError]. If the connection to
// the agent has ended, it wraps [ErrLost].
//
// Write returns when its bytes are on their way, and guarantees no more. If a service
// ends what it sends and then closes early, Write does not fail, and the agent throws
// away what the service does not take.
//
// Close does not wait; the service still gets what was written before, as long as
// it takes some every 5 seconds. (As over TCP, one that sends meanwhile may lose
// the last of it: to be sure, call CloseWrite and read to the end.)
func (c *Client) DialGuest(ctx context.Context, network, address string) (net.Conn, error) {
	g := &guestConn{remote: guestAddr{network, address}}
	err := c.withRetry(ctx, func(l *link) error { return g.dial(ctx, l) })
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: g.remote, Err: err}
	}
	return g, nil
}

// dial dials over a link, which is marked as in use. If dial fails, it has released
// the link.
func (g *guestConn) dial(ctx context.Context, l *link) error {
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
	g.call = call
	return nil
}

// request opens the stream of the connection, and returns the encoded request.
func (g *guestConn) request(call *call) ([]byte, error) {
	call.begins = true
	stream, err := call.link.mux.Open()
	if err != nil {
		return nil, err
	}
	stream.Interruptible()
	g.stream, call.streams = stream, []*mux.Stream{stream}
	frame, err := wire.Append(nil, &wire.Forward{
		Head: wire.Head{ID: call.id}, Network: g.remote.network, Address: g.remote.address, Stream: stream.ID(),
	})
	if err != nil {
		return nil, fmt.Errorf("client: address too long: %w", err)
	}
	return frame, nil
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
