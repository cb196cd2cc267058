package client

import "fmt"

// A Protocol is a version of the protocol (docs/protocol.md), by its number.
type Protocol int

// The protocols to choose from.
const (
	ProtocolAuto Protocol = 0 // version 2, or version 1 if the agent knows no other
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
// Version 1 has one connection for each command, which the Client makes when the
// command starts. So Start may fail with a [*DialError], or wait for as long as the
// dialer does. The Client refuses a request that version 1 lacks with a [*RemoteError]
// of kind [Unsupported]: TTY, User, Dir, ClearEnv, Keep, Limits, Signal, DialGuest,
// ListenGuest, and
// bytes that are not UTF-8 in Args and Env. The same holds for the clock, hostname and
// ssh keys of ReseedWith.
//
// Version 1 does these less well:
//
//   - A command is ended, by its context, Kill or its Timeout, which the Client
//     keeps, by closing its connection: how it then went is not known.
//   - A command that a signal has ended has the exit code -1, and no signal.
//   - The agent tells no errors apart: those that it gives are of kind [Internal].
//   - Nobody can check whether all output has come. Agents that speak version 1 only
//     are known to lose some when it is read slowly.
//   - Ping is an attempt to speak version 2, for 10 seconds. An agent that has
//     learnt it ends the Client with an error that wraps [ErrLost], once no
//     command runs. Info tells nothing but the round trip.
func (c *Client) Protocol() Protocol {
	l := c.current()
	switch {
	case l == nil:
		return ProtocolAuto
	case l.old != nil:
		return Protocol1
	}
	select {
	case <-l.greeted:
		return Protocol2
	default:
		return ProtocolAuto
	}
}
