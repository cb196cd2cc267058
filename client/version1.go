package client

import (
	"context"
	"errors"
	"io"

	"github.com/cocoonstack/cocoon-agent/internal/v1"
)

var errUsed = errors.New("a connection of protocol version 1 carries only one request")

// agentOver returns an agent that is spoken to in version 1, once, over conn. The end of
// the agent closes conn.
func agentOver(conn io.ReadWriteCloser) *oldAgent {
	left := make(chan io.ReadWriteCloser, 1)
	left <- conn
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
