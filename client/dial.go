package client

import (
	"context"
	"errors"
	"io"
	"net"
)

// Dial connects to the agent that target names, in a form that [ParseTarget] reads.
// Cancelling ctx, or its deadline, ends every step of it; afterwards ctx has no effect.
// The caller closes the Client.
//
// Dial does not wait for the agent's greeting, which saves the first command one round
// trip. So the first call on the Client, or [Client.Ready], returns the error if the
// agent refuses this host, or if the peer is not an agent. The Client also learns then
// whether the agent speaks protocol version 1 only, and speaks it, too.
//
// The error is that of [ParseTarget], or a [*DialError].
func Dial(ctx context.Context, target string) (*Client, error) {
	return DialProtocol(ctx, target, ProtocolAuto)
}

// DialProtocol is [Dial] for an agent that is to be spoken to by one version of
// the protocol. With [Protocol1] it makes no connection yet.
func DialProtocol(ctx context.Context, target string, p Protocol) (*Client, error) {
	t, err := ParseTarget(target)
	if err != nil {
		return nil, err
	}
	c, err := route{dial: t.Dial, target: t.String()}.client(ctx, p)
	return c, dialError(t.String(), err)
}

// dialError makes err a DialError, unless it is nil or wraps one already.
func dialError(target string, err error) error {
	if err == nil {
		return nil
	}
	if dial, ok := errors.AsType[*DialError](err); ok {
		err = dial.Err
	}
	return &DialError{Target: target, Err: err}
}

// DialWith is [Dial] over a connection that dial makes: through a proxy, or to a VMM of
// another kind. The Client owns the connection. If the agent speaks version 1 only, the
// Client calls dial again, for each command, until it is closed.
func DialWith(ctx context.Context, dial func(context.Context) (net.Conn, error)) (*Client, error) {
	return route{dial: dial, target: "the agent"}.client(ctx, ProtocolAuto)
}

// NewClient makes a Client of a connection that leads to an agent. The Client owns
// conn; if NewClient fails, it closes conn. Close of conn must end a Read and a Write
// that are blocked, as a net.Conn's does. ctx is as for Dial.
//
// If the agent speaks version 1 only, the error of NewClient, or of a later call, wraps
// [ErrNotSpoken]: the agent has closed the connection, and there is no other. [Run],
// [RunWith] and [Reseed] speak version 1 over a connection.
func NewClient(ctx context.Context, conn io.ReadWriteCloser) (*Client, error) {
	return newClientWithin(ctx, conn, nil)
}
