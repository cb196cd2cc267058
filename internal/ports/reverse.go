package ports

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/local"
)

// ParseRemote reads [BIND:]PORT:HOST:PORT or [BIND:]PORT:/PATH, as ssh -R has them: the
// guest listens at BIND, on its loopback interface, and the service is the host's or one that
// the host can reach.
func ParseRemote(text string) (Spec, error) {
	bind, port, service, ok := cutTCP(text)
	if !ok {
		return Spec{}, fmt.Errorf("%q: want [BIND:]PORT:HOST:PORT or [BIND:]PORT:/HOST.SOCK", text)
	}
	s := Spec{Host: Endpoint{"tcp", service}, Guest: Endpoint{"tcp", cmp.Or(bind, "localhost") + ":" + port}, Reverse: true}
	if _, err := local.ParseListen("tcp", s.Guest.Address); err != nil {
		return Spec{}, fmt.Errorf("%q: guest's side: %w", text, err)
	}
	if strings.HasPrefix(service, "/") {
		s.Host.Network = "unix"
		return s, nil
	}
	_, number, err := net.SplitHostPort(service)
	if err == nil {
		_, err = parsePort(number, false)
	}
	if err != nil {
		return Spec{}, fmt.Errorf("%q: host's side %q: want HOST:PORT or /HOST.SOCK", text, service)
	}
	return s, nil
}

// ListenGuest makes the listeners in the guest that specs say, or none.
func (f *Forwarder) ListenGuest(ctx context.Context, specs []Spec) (bound []*Listener, err error) {
	for _, s := range specs {
		l := &Listener{Spec: s}
		if err := f.listen(ctx, l); err != nil {
			CloseAll(bound)
			return nil, err
		}
		bound = append(bound, l)
	}
	return bound, nil
}

// listen sets what l accepts from, and the port if that was any.
func (f *Forwarder) listen(ctx context.Context, l *Listener) error {
	ln, err := f.Listen(ctx, l.Spec.Guest)
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(l.Spec.Guest.Address)
	_, port, err2 := net.SplitHostPort(ln.Addr().String())
	if err == nil && err2 == nil {
		l.Spec.Guest.Address = net.JoinHostPort(host, port)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errors.Join(net.ErrClosed, ln.Close())
	}
	l.Listener = ln
	return nil
}

const (
	firstListenPause = 100 * time.Millisecond
	lastListenPause  = 5 * time.Second
)

// again listens once more in a guest that has lost its listener, with another agent.
func (f *Forwarder) again(ctx context.Context, l *Listener) error {
	told := false
	for pause := firstListenPause; ; pause = min(2*pause, lastListenPause) {
		err := f.listen(ctx, l)
		remote, refused := errors.AsType[*client.RemoteError](err)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case refused && remote.Kind != client.Limit && remote.Kind != client.ShuttingDown:
			return err
		case refused && remote.Kind == client.Limit && !told:
			told = true
			f.Waiting(l, err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// serveGuest connects one connection of the guest to the host's service.
func (f *Forwarder) serveGuest(ctx context.Context, l *Listener, g *client.GuestConn) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, l.Spec.Host.Network, l.Spec.Host.Address)
	if err != nil {
		_ = g.Reset()
		f.Failed(l, err)
		return
	}
	c, err := local.Accepted(nc)
	if err != nil {
		_, _ = nc.Close(), g.Reset()
		f.Failed(l, err)
		return
	}
	defer c.Close()
	_ = relay(c, g)
}
