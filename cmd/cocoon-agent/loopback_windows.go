//go:build loopback

// With the tag loopback the agent listens on a TCP port of the loopback interface, for tests alone:
// whoever connects there is taken for the host.

package main

import (
	"net"
	"os"

	"github.com/mdlayher/vsock"

	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

func init() {
	inherited = func() ([]endpoint, error) {
		ln, err := net.Listen("tcp", os.Getenv("COCOON_AGENT_LOOPBACK"))
		if err != nil {
			return nil, err
		}
		a := transport.Address{Scheme: "tcp", Path: ln.Addr().String()}
		return []endpoint{{loopback{ln}, a, true}}, nil
	}
}

type loopback struct{ net.Listener }

func (l loopback) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return hosted{c}, err
}

// A hosted connection says that it comes from the host.
type hosted struct{ net.Conn }

func (hosted) RemoteAddr() net.Addr { return &vsock.Addr{ContextID: transport.CIDHost, Port: 1} }
