//go:build linux

package lab

import (
	"context"
	"net"
	"slices"
	"strings"
)

// A Forward is a process that forwards a port of the loopback interface to a server.
type Forward struct {
	*Process
	Address string
}

// StartForward has the agent's program forward a port to a server that listens on a Unix socket.
func (l *Lab) StartForward(ctx context.Context, agent, to *Server) (*Forward, error) {
	return l.forward(ctx, to, func(spec string) []string {
		return []string{l.Agent, "forward", "--target", agent.Target, "-L", spec}
	})
}

// StartForward has an ssh with a connection of its own do the same, with AES-GCM.
func (s *SSH) StartForward(ctx context.Context, l *Lab, to *Server) (*Forward, error) {
	return l.forward(ctx, to, func(spec string) []string {
		return slices.Concat(s.alone, []string{"-S", "none", "-c", "aes128-gcm@openssh.com", "-N", "-L", spec, "127.0.0.1"})
	})
}

func (l *Lab) forward(ctx context.Context, to *Server, argv func(spec string) []string) (*Forward, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	f := &Forward{Address: net.JoinHostPort("127.0.0.1", port)}
	if f.Process, err = l.start(argv(f.Address + ":" + strings.TrimPrefix(to.Target, "unix://"))); err != nil {
		return nil, err
	}
	if err := f.await(ctx, func() bool { return answers(port) }); err != nil {
		f.Stop()
		return nil, err
	}
	return f, nil
}
