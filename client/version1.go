package client

import (
	"context"
	"errors"
	"io"

	"github.com/cocoonstack/cocoon-agent/internal/v1"
)

// A version1 is a connection over which version 1 is to be spoken.
type version1 struct {
	io.ReadWriteCloser
}

// Version1 marks a connection to an agent that is known to speak version 1, for
// [Run], [Reseed] or [NewClient]. It carries one command, or one reseed; what is
// asked for after that is a [*DialError].
func Version1(conn io.ReadWriteCloser) io.ReadWriteCloser { return &version1{conn} }

var errUsed = errors.New("a connection of protocol version 1 carries only one request")

// agent returns an agent that is spoken to over the connection, once.
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
