//go:build !linux && !windows

package transport

import (
	"context"
	"errors"
	"net"
)

var errNoVsock = permanent(errors.New("vsock:// needs Linux: use hvsock:// or unix:// on this system"))

func dialVsock(context.Context, uint32, uint32) (net.Conn, error) { return nil, errNoVsock }

func listenVsock(uint32, Policy) (net.Listener, error) { return nil, errNoVsock }

func vsockPeer(net.Addr) (Peer, bool) { return Peer{}, false }
