package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/cocoonstack/cocoon-agent/internal/v1"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A Protocol is a version of the protocol (docs/protocol.md), by its number.
type Protocol int

// The protocols to choose from.
const (
	ProtocolAuto Protocol = 0 // version 2, and version 1 where the agent knows no other
	Protocol1    Protocol = 1 // version 1, whatever the agent speaks
	Protocol2    Protocol = 2 // version 2, or [ErrNotSpoken]
)

func (p Protocol) check() error {
	switch p {
	case ProtocolAuto, Protocol1, Protocol2:
		return nil
	default:
		return fmt.Errorf("client: protocol version %d: want 1, 2, or 0 for either", p)
	}
}

// Protocol returns the version that is spoken with the agent, and
// [ProtocolAuto] before that is known, by any answer or [Client.Ready].
//
// Version 1 has one connection for each command, which the Client makes when
// the command starts, so that Start may fail with a [*DialError], or wait for as
// long as the dialer does. What version 1 cannot do is a [*RemoteError] of kind
// [Unsupported]: TTY, User, Dir, ClearEnv, Keep, Limits, Signal, the clock,
// hostname and ssh keys of Resume, DialGuest, and bytes that are not UTF-8 in Args
// and Env.
// What it does less well:
//
//   - A command is ended, by its context, Kill or its Timeout, which the Client
//     keeps, by closing its connection: how it then went is not known.
//   - A command that a signal has ended has the exit code -1, and no signal.
//   - The agent tells no errors apart: those that it gives are of kind [Internal].
//   - That all output has come nobody can check. Agents that speak version 1 only
//     are known to lose some when it is read slowly.
//   - Ping is an attempt to speak version 2, for 10 seconds. An agent that has
//     learnt it ends the Client with an error that wraps [ErrLost], once no
//     command runs. Info tells nothing but the round trip.
func (c *Client) Protocol() Protocol {
	c = c.live()
	if c.old != nil {
		return Protocol1
	}
	select {
	case <-c.greeted:
		return Protocol2
	default:
		return ProtocolAuto
	}
}

// live returns the Client that has taken c's place, or c.
func (c *Client) live() *Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next != nil {
		return c.next
	}
	return c
}

// takenOver is another of a Client that an older one may take the place of.
func (c *Client) takenOver(context.Context) (*Client, error) {
	next := c.live()
	if next == c {
		return nil, nil //nolint:nilnil // there is none
	}
	err := next.use()
	return next, err
}

// speaksVersion1 says whether err is the refusal of an agent that does.
func speaksVersion1(err error) bool {
	refused, ok := errors.AsType[*refusedError](err)
	return ok && refused.version1
}

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
	var older func() (*Client, error)
	if p == ProtocolAuto {
		older = func() (*Client, error) { return r.oldClient(false) }
	}
	return newClientWithin(ctx, conn, older)
}

// oldClient returns a Client that speaks version 1. chosen: by the caller, who
// wants no other.
func (r route) oldClient(chosen bool) (*Client, error) {
	return newClient(&oldAgent{chosen: chosen, target: r.target, Agent: v1.NewAgent(v1.Config{
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
	})}, nil)
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

// An oldAgent stands for an agent that speaks version 1.
type oldAgent struct {
	*v1.Agent
	target string
	chosen bool   // version 1 was asked for
	last   func() // is called at the end; nil: there is nothing to do
}

// wait waits until nothing of it is left, once the Client has closed it.
func (a *oldAgent) wait() {
	a.Wait()
	if a.last != nil {
		a.last()
	}
}

// errMayHaveRun is wrapped where a command may have been run by an agent that
// speaks version 1. It wraps ErrLost.
var errMayHaveRun = fmt.Errorf("%w", ErrLost)

// ofOld returns the error that m stands for, of an agent that speaks version 1,
// or nil: it is what it says.
func (c *Client) ofOld(m *wire.Error) error {
	if c.old == nil {
		return nil
	}
	switch m.Kind {
	case v1.Undialed:
		return &DialError{Target: c.old.target, Err: errors.New(printable(m.Message, maxMessage))}
	case v1.Superseded:
		c.retire(v1.ErrSuperseded)
		return fmt.Errorf("%w: %w", ErrLost, v1.ErrSuperseded)
	case v1.Lost:
		return fmt.Errorf("%w: %s", errMayHaveRun, printable(m.Message, maxMessage))
	default:
		return nil
	}
}

// retire lets the connection end, for a reason, when nobody uses it any more.
func (c *Client) retire(reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err, c.retired = reason, true
		c.closeUnused()
	}
}

// closeUnused is called with mu held.
func (c *Client) closeUnused() {
	if c.retired && c.users == 0 {
		go func() { _ = c.Close() }() // ends with the connection
	}
}

// A version1 is a connection over which version 1 is to be spoken.
type version1 struct {
	io.ReadWriteCloser
}

// Version1 marks a connection to an agent that is known to speak version 1, for
// [Run], [Reseed] or [NewClient]. It carries one command, or one reseed; what is
// asked for after that is a [*DialError].
func Version1(conn io.ReadWriteCloser) io.ReadWriteCloser { return &version1{conn} }

var errUsed = errors.New("a connection of protocol version 1 carries only one request")

func (v *version1) agent() *oldAgent {
	left := make(chan io.ReadWriteCloser, 1)
	left <- v.ReadWriteCloser
	dial := func(context.Context) (io.ReadWriteCloser, error) {
		select {
		case conn := <-left:
			return conn, nil
		default:
			return nil, errUsed
		}
	}
	return &oldAgent{
		target: "the agent",
		Agent: v1.NewAgent(v1.Config{
			Dial:  dial,
			Probe: func(context.Context) error { return errUsed },
		}),
		last: func() {
			if conn, err := dial(context.Background()); err == nil {
				_ = conn.Close()
			}
		},
	}
}
