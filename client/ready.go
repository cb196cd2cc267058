package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

// WaitOptions say how [WaitReadyWith] waits. The zero value is good for most.
type WaitOptions struct {
	// Protocol is the version to speak, as for [DialProtocol].
	Protocol Protocol

	// Dial makes a connection. nil: the target's. With a Dial the target is only a name
	// for errors.
	Dial func(context.Context) (net.Conn, error)

	// AttemptTimeout is how long one attempt may take, the agent's greeting included.
	// 0: 5 seconds.
	AttemptTimeout time.Duration

	// Retry says whether to go on after an attempt that failed with err. nil: [MayBecomeReady].
	Retry func(err error) bool

	// Waiting is called after each attempt that failed and will be followed by another.
	// nil: nobody is told.
	Waiting func(err error)
}

// WaitReady connects to the agent that target names and waits until it has greeted. The
// VM may still be starting. WaitReady tries again and again, at first every few
// milliseconds and later every quarter of a second, until ctx ends. The caller closes
// the Client.
//
// The error is that of [ParseTarget], or a [*DialError]. If ctx has ended, it wraps
// ctx's error, and that of the last attempt, too. After an error nothing has run in the
// guest.
func WaitReady(ctx context.Context, target string) (*Client, error) {
	return WaitReadyWith(ctx, target, WaitOptions{})
}

// WaitReadyWith is [WaitReady] with options. It also returns an error for an invalid Protocol.
func WaitReadyWith(ctx context.Context, target string, o WaitOptions) (*Client, error) {
	if o.Dial == nil {
		t, err := ParseTarget(target)
		if err != nil {
			return nil, err
		}
		target, o.Dial = t.String(), t.Dial
	}
	if o.AttemptTimeout <= 0 {
		o.AttemptTimeout = attemptTimeout
	}
	if o.Retry == nil {
		o.Retry = MayBecomeReady
	}
	if err := o.Protocol.check(); err != nil {
		return nil, err
	}
	c, err := o.wait(ctx, route{dial: o.Dial, target: target})
	return c, dialError(target, err)
}

// Times of [WaitReady].
const (
	attemptTimeout = 5 * time.Second
	firstPause     = 5 * time.Millisecond // between attempts. It doubles
	longestPause   = 250 * time.Millisecond
)

func (o *WaitOptions) wait(ctx context.Context, r route) (*Client, error) {
	var last error // of an attempt
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		c, err := o.attempt(ctx, r)
		switch {
		case err == nil:
			return c, nil
		case ctx.Err() != nil:
			return nil, stoppedWaiting(ctx.Err(), last)
		case !o.Retry(err):
			return nil, err
		}
		if last = err; o.Waiting != nil {
			o.Waiting(err)
		}
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
			return nil, stoppedWaiting(ctx.Err(), last)
		}
	}
}

// stoppedWaiting returns err, a context's, with the error of the last attempt.
func stoppedWaiting(err, last error) error {
	if last == nil {
		return err
	}
	if dial, ok := errors.AsType[*DialError](last); ok {
		last = dial.Err
	}
	return fmt.Errorf("%w; last attempt: %w", err, last)
}

// attempt returns a Client whose agent has greeted.
func (o *WaitOptions) attempt(ctx context.Context, r route) (*Client, error) {
	within, cancel := context.WithTimeout(ctx, o.AttemptTimeout)
	defer cancel()
	c, err := r.client(within, o.Protocol)
	if err == nil {
		if err = c.Ready(within); err == nil {
			return c, nil
		}
		_ = c.Close()
	}
	if ctx.Err() == nil && within.Err() != nil {
		err = &timeoutError{o.AttemptTimeout, err}
	}
	return nil, dialError(r.target, err)
}

// MayBecomeReady reports whether err, of an attempt to connect, may pass: the VM is
// starting, paused or restarting, or the agent takes no more connections. It does not pass if another
// program answers, another user serves the socket, or the agent refuses this host.
func MayBecomeReady(err error) bool {
	if remote, ok := errors.AsType[*RemoteError](err); ok {
		return remote.Kind == Limit || remote.Kind == ShuttingDown
	}
	_, ok := errors.AsType[*DialError](err)
	return ok && !errors.Is(err, ErrNotSpoken) && !errors.Is(err, ErrProtocol) && !errors.Is(err, ErrForgotten) &&
		!errors.Is(err, errUnwanted) && !transport.IsPermanent(err)
}

// errUnwanted is wrapped if [PoolConfig.Verify] refuses an agent.
var errUnwanted = errors.New("the agent was refused")
