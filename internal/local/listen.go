package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
)

// ParseListen takes what [ParseAddress] takes for TCP, and port 0: any free one.
func ParseListen(network, address string) (Address, error) {
	host, free := strings.CutSuffix(address, ":0")
	if network == "unix" {
		return Address{}, fmt.Errorf("%w: network unix: want tcp, tcp4 or tcp6 to listen", ErrInvalid)
	}
	if !free {
		return ParseAddress(network, address)
	}
	a, err := ParseAddress(network, host+":1")
	for i := range a.tries {
		e := &a.tries[i]
		e.address = strings.TrimSuffix(e.address, "1") + "0"
	}
	return a, err
}

// Listen listens at a, which ParseListen has made: on each address that it stands for, with
// one port. The caller closes the listeners.
func Listen(ctx context.Context, a Address) ([]*net.TCPListener, error) {
	for try := 1; ; try++ {
		all, err := listenAll(ctx, a)
		if err == nil {
			return all, nil
		}
		if !a.anyPort() || len(all) == 0 || try == portTries {
			return nil, translateListen(err)
		}
	}
}

// portTries is how often a free port is looked for that is free on both loopback addresses.
const portTries = 16

func (a Address) anyPort() bool { return strings.HasSuffix(a.tries[0].address, ":0") }

// listenAll listens on each address, or on none: all has those that were free.
func listenAll(ctx context.Context, a Address) (all []*net.TCPListener, err error) {
	config := net.ListenConfig{KeepAlive: -1} // the peer cannot go away unnoticed
	for i, e := range a.tries {
		if i > 0 {
			host, _, _ := net.SplitHostPort(e.address)              // which ParseAddress has made
			_, port, _ := net.SplitHostPort(all[0].Addr().String()) // which package net has made
			e.address = net.JoinHostPort(host, port)
		}
		ln, err := config.Listen(ctx, e.network, e.address)
		if i > 0 && (errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT)) {
			continue // no IPv6
		}
		if err != nil {
			for _, ln := range all {
				_ = ln.Close()
			}
			return all, err
		}
		all = append(all, ln.(*net.TCPListener))
	}
	return all, nil
}

// translateListen is translate for a listener.
func translateListen(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: %w", ErrResources, err)
	}
	return translate(err)
}
