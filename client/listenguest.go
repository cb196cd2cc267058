package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// openAccepts is how many connections a GuestListener may hold that Accept has not
// returned. The others wait in the guest's kernel.
const openAccepts = 8

// A GuestListener is a [net.Listener] in a guest. [Client.ListenGuest] makes it, and the
// caller closes it. It is safe for concurrent use.
type GuestListener struct {
	client  *Client
	network string

	ctx   context.Context // ends with the listener; the cause is what Accept returns
	end   context.CancelCauseFunc
	conns chan *GuestConn // has no room
	ended chan struct{}   // closed when run has returned

	mu   sync.Mutex
	addr guestAddr
	ask  string // the address to ask for, with the port once that is known; only one goroutine at a time uses it
}

// ListenGuest listens in the guest, on its loopback interface. The programs of the guest
// that connect there are the listener's connections. The operator of the guest must have
// named the address ("serve --allow-listen").
//
//	tcp, tcp4, tcp6   "localhost:80", "127.0.0.1:80", "[::1]:80", "localhost:0"
//
// The host localhost, or an empty one, means 127.0.0.1 and ::1. Port 0 is any free port,
// which Addr tells.
//
// ctx ends the wait for the agent, and has no effect afterwards. The error is a
// *net.OpError. It wraps ctx's error, [ErrLost], or a [*RemoteError]. The kind is
// [PermissionDenied] if the operator does not allow the address, [Limit] if it is in use,
// and [Unsupported] if the agent is too old.
//
// Accept returns a [*GuestConn]; its Reset refuses the connection. A listener lives as long
// as the connection to the agent: when that has ended, Accept returns an error that wraps
// [ErrLost]. The listener of a Client from a [Pool] then listens again at the same address,
// over another connection to the same agent, until that succeeds or cannot.
func (c *Client) ListenGuest(ctx context.Context, network, address string) (*GuestListener, error) {
	l := &GuestListener{
		client: c, network: network, addr: guestAddr{network, address}, ask: address,
		conns: make(chan *GuestConn), ended: make(chan struct{}),
	}
	l.ctx, l.end = context.WithCancelCause(context.Background())
	var listen *call
	err := c.needs(ctx, wire.FeatureListen)
	if err == nil {
		err = c.withRetry(ctx, func(k *link) (err error) {
			listen, err = l.listen(ctx, k)
			return err
		})
	}
	if err != nil {
		l.end(nil)
		return nil, &net.OpError{Op: "listen", Net: network, Addr: l.addr, Err: err}
	}
	go l.run(listen) // stopped by Close, which waits for it, or by the end of the listener
	return l, nil
}

// Accept returns the next connection, a [*GuestConn].
func (l *GuestListener) Accept() (net.Conn, error) {
	select {
	case g := <-l.conns:
		return g, nil
	case <-l.ctx.Done():
		return nil, &net.OpError{Op: "accept", Net: l.network, Addr: l.Addr(), Err: context.Cause(l.ctx)}
	}
}

// Close stops listening. It does not wait for the guest, and is idempotent. Connections
// that Accept has not returned are reset; the others go on.
func (l *GuestListener) Close() error {
	l.end(net.ErrClosed)
	<-l.ended
	return nil
}

// Addr returns the address at which the guest listens; if there are several, the first.
func (l *GuestListener) Addr() net.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addr
}

// listen asks for the listener over a link, which is marked as in use. If listen fails, it has
// released the link.
func (l *GuestListener) listen(ctx context.Context, k *link) (*call, error) {
	call, answer, err := k.call(ctx, func(c *call) ([]byte, error) {
		c.begins = true
		frame, err := wire.Append(nil, &wire.Listen{
			Head: wire.Head{ID: c.id}, Network: l.network, Address: l.ask,
		})
		if err != nil {
			return nil, fmt.Errorf("client: address too long: %w", err)
		}
		return frame, nil
	})
	if err == nil {
		if err = forwarded(answer); err != nil {
			call.letGo()
		}
	}
	if err != nil {
		k.release()
		return nil, err
	}
	l.bound(answer.(*wire.Started).Address)
	return call, nil
}

// bound notes where the guest listens. Another link is to have the same port.
func (l *GuestListener) bound(address string) {
	host, _, err := net.SplitHostPort(l.ask)
	_, port, err2 := net.SplitHostPort(address)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addr.address = address
	if err == nil && err2 == nil {
		l.ask = net.JoinHostPort(host, port)
	}
}

// run serves the listener until it ends. listen is its request, over a link that is in use.
func (l *GuestListener) run(listen *call) {
	defer close(l.ended)
	for {
		err := l.serve(listen)
		if l.ctx.Err() == nil && l.client.another != nil && errors.Is(err, ErrLost) {
			listen, err = l.again(listen.link)
		}
		if err != nil || l.ctx.Err() != nil {
			l.end(err)
			return
		}
	}
}

// serve takes connections until the listener has ended, and returns why.
func (l *GuestListener) serve(listen *call) error {
	ctx, stop := context.WithCancel(l.ctx)
	var accepting sync.WaitGroup
	for range openAccepts {
		accepting.Go(func() { l.accept(ctx, listen) }) // stopped by stop
	}
	m, err := listen.event(ctx)
	stop()
	accepting.Wait()
	if err != nil && l.ctx.Err() != nil {
		listen.withdraw()
	}
	listen.letGo()
	listen.link.release()
	switch m := m.(type) {
	case nil:
		return err
	case *wire.Error:
		return remoteError(m.Kind, m.Message)
	default:
		return fmt.Errorf("%w: the listener has ended without a reason", ErrProtocol)
	}
}

// acceptPause is how long a refused accept is not tried again: a limit has been reached.
const acceptPause = 250 * time.Millisecond

// accept takes one connection after the other until ctx ends.
func (l *GuestListener) accept(ctx context.Context, listen *call) {
	for ctx.Err() == nil {
		g := &GuestConn{from: listen.id, remote: guestAddr{network: l.network}, local: l.Addr().(guestAddr)}
		if err := listen.link.use(); err != nil {
			return
		}
		if err := g.dial(ctx, listen.link); err != nil {
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
			continue
		}
		select {
		case l.conns <- g:
		case <-ctx.Done():
			_ = g.Reset()
		}
	}
}

// again listens over another link than before, which has been lost.
func (l *GuestListener) again(lost *link) (*call, error) {
	for pause := firstResumePause; ; pause = min(2*pause, lastResumePause) {
		next, err := l.client.insteadOf(l.ctx, lost)
		if err == nil {
			var listen *call
			if listen, err = l.listen(l.ctx, next); err == nil {
				return listen, nil
			}
			lost = next
		}
		if !mayPass(err) {
			return nil, err
		}
		select {
		case <-time.After(pause):
		case <-l.ctx.Done():
			return nil, l.ctx.Err()
		}
	}
}
