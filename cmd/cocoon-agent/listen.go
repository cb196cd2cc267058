//go:build linux || windows

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

const (
	// devicePatience is how long a vsock device may take to appear after boot.
	devicePatience = 2 * time.Minute

	deviceRetry = 500 * time.Millisecond

	// inUsePatience is how long a child that an agent was forking when it was
	// killed may hold its address: it lets go when it becomes a command.
	inUsePatience = time.Second

	inUseRetry = 10 * time.Millisecond
)

// An endpoint is a listener and where it listens.
type endpoint struct {
	net.Listener
	address   transport.Address
	inherited bool // bound by somebody else, who keeps it bound
}

func names(endpoints []endpoint) string {
	var all []string
	for _, e := range endpoints {
		all = append(all, e.address.String())
	}
	return strings.Join(all, " ")
}

// isOwn says whether a Unix socket that is bound to name is one of the endpoints.
func isOwn(endpoints []endpoint, name string) bool {
	return slices.ContainsFunc(endpoints, func(e endpoint) bool { return e.address.Scheme == "unix" && e.address.Path == name })
}

func closeAll(endpoints []endpoint) {
	for _, e := range endpoints {
		_ = e.Close()
	}
}

// A binder makes listeners.
type binder struct {
	log    zerolog.Logger
	policy transport.Policy

	waiting func() // called when a device is waited for
}

// listen listens on all addresses besides those of the endpoints that are
// there, which it returns too; or on none. It returns nothing if ctx ends
// first, and leaves those that are there open.
func (b binder) listen(ctx context.Context, endpoints []endpoint, addresses []transport.Address) ([]endpoint, error) {
	var made []endpoint
	for _, a := range addresses {
		if slices.ContainsFunc(endpoints, func(e endpoint) bool { return e.address == a }) {
			continue
		}
		ln, err := b.listenPatiently(ctx, a)
		if err != nil || ln == nil {
			closeAll(made)
			return nil, err
		}
		made = append(made, endpoint{ln, a, false})
	}
	return slices.Concat(endpoints, made), nil
}

// listenPatiently waits for a vsock device that is not there yet, and for the
// address of an agent that has just been killed. It returns neither if ctx
// ends first.
func (b binder) listenPatiently(ctx context.Context, a transport.Address) (net.Listener, error) {
	begun := time.Now()
	for try := 0; ; try++ {
		ln, err := transport.Listen(a, b.policy)
		var wait time.Duration
		switch {
		case errors.Is(err, transport.ErrNoDevice):
			if time.Since(begun) > devicePatience {
				return nil, noDevice(err, devicePatience)
			}
			if try == 0 {
				b.log.Warn().Err(err).Dur("patience_ms", devicePatience).Msg("waiting for the vsock device")
				b.waiting()
			}
			wait = deviceRetry
		case errors.Is(err, transport.ErrInUse) && time.Since(begun) < inUsePatience:
			wait = inUseRetry
		case errors.Is(err, transport.ErrInUse) && a.Scheme == "vsock":
			return nil, fmt.Errorf("%w: the process that listens there can impersonate the agent", err)
		default:
			return ln, err
		}
		if !pause(ctx, wait) {
			return nil, nil
		}
	}
}

// pause says whether ctx has not ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
