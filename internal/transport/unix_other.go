//go:build !linux

package transport

import (
	"errors"
	"net"
)

var errLinuxOnly = errors.New("the agent listens on Unix sockets on Linux only")

func listenPrivate(string) (net.Listener, error) { return nil, errLinuxOnly }

func unixPeer(*net.UnixConn) (Peer, error) { return Peer{}, errLinuxOnly }
