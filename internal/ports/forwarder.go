package ports

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/local"
)

// A Forwarder connects what comes to listeners to services in a guest, and what comes to
// listeners in the guest to services of the host. Its fields are set
// before Serve.
type Forwarder struct {
	// Open opens a connection to a service without waiting for the agent's answer.
	Open func(context.Context, Endpoint) (*client.GuestConn, error)

	// Listen makes a listener in the guest.
	Listen func(context.Context, Endpoint) (*client.GuestListener, error)

	// End ends the connections that Open has made, when Serve is to end.
	End func()

	// Failed is told about a connection that was not made. Its local end is reset.
	// It is called by several goroutines.
	Failed func(*Listener, error)

	// Waiting is told that a listener in the guest has been lost and cannot be made again yet, since its
	// port is taken, for example. It is called once for each loss, by several goroutines.
	Waiting func(*Listener, error)

	relays sync.WaitGroup
}

// Serve accepts connections until ctx ends or a listener fails. It closes the listeners,
// ends the connections and waits for them.
func (f *Forwarder) Serve(ctx context.Context, listeners []*Listener) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var accepting sync.WaitGroup
	for _, l := range listeners {
		accepting.Go(func() { // stopped by the close of l
			if err := f.accept(ctx, l); err != nil {
				end(err)
			}
		})
	}
	<-ctx.Done()
	CloseAll(listeners)
	accepting.Wait()
	f.End()
	f.relays.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

const (
	firstPause = 5 * time.Millisecond // after a failed accept
	lastPause  = time.Second
)

func (f *Forwarder) accept(ctx context.Context, l *Listener) error {
	pause := firstPause
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = firstPause
			f.relays.Go(func() { f.serve(ctx, l, nc) }) // ends with the connection
		case ctx.Err() != nil:
			return ctx.Err()
		case l.Spec.Reverse:
			if err := f.again(ctx, l); err != nil {
				return err
			}
		case !mayPass(err):
			return err
		default: // no descriptors are left
			select {
			case <-time.After(pause):
			case <-ctx.Done():
			}
			pause = min(2*pause, lastPause)
		}
	}
}

// mayPass reports whether a later accept may succeed.
func mayPass(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// serve connects one connection to its service.
func (f *Forwarder) serve(ctx context.Context, l *Listener, nc net.Conn) {
	if g, ok := nc.(*client.GuestConn); ok {
		f.serveGuest(ctx, l, g)
		return
	}
	c, err := local.Accepted(nc)
	if err != nil {
		_ = nc.Close()
		f.Failed(l, err)
		return
	}
	defer c.Close()
	g, err := f.Open(ctx, l.Spec.Guest)
	if err == nil {
		err = relay(c, g)
	}
	if err != nil {
		f.Failed(l, err)
	}
}

// relay moves the bytes of both directions until both have ended. If one of them breaks,
// both ends are reset. The error says why the connection into the guest was not made.
func relay(c *local.Conn, g *client.GuestConn) error {
	defer g.Close()
	var sending sync.WaitGroup
	sending.Go(func() { // ended by the end of c
		if _, err := c.CopyTo(g); err == nil {
			_ = g.CloseWrite()
		} else if errors.Is(err, local.ErrBroken) { // else reading from g tells
			_ = g.Reset()
		}
	})
	_, err := c.CopyAll(g)
	if err != nil {
		_ = g.Reset()
		c.Close()
	}
	sending.Wait()
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "dial" {
		return err
	}
	return nil
}
