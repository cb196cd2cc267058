package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// DialTimeout is how long a service may take to accept a connection.
const DialTimeout = 10 * time.Second

// A Dialer makes connections. Its zero value makes them as this program's user,
// to whatever serves the address. It is safe for concurrent use.
type Dialer struct {
	As *User // whom services see, and whose rights count; nil: this program's user

	// Refused says whether a service that is bound to a name is not to be
	// connected to, by whatever path or link it is reached. nil: none is.
	Refused func(name string) bool
}

// Dial makes a connection to the service at a, within [DialTimeout]. The error
// wraps one of this package's, or ctx's.
func (d Dialer) Dial(ctx context.Context, a Address) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	var first error
	for _, e := range a.tries {
		c, err := d.dial(ctx, e)
		if err == nil {
			return c, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, translate(first)
}

func (d Dialer) dial(ctx context.Context, e endpoint) (*Conn, error) {
	nc, err := d.connect(ctx, e)
	if err != nil {
		return nil, err
	}
	s, ok := nc.(socket)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%w: %T", ErrUnsupported, nc), nc.Close())
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if name := s.RemoteAddr(); e.network == "unix" && d.Refused != nil && name != nil && d.Refused(name.String()) {
		return nil, errors.Join(fmt.Errorf("%w: %s is the agent's own socket", ErrNotPermitted, name), s.Close())
	}
	return &Conn{socket: s, raw: raw}, nil
}

func (d Dialer) connect(ctx context.Context, e endpoint) (net.Conn, error) {
	if d.As != nil {
		return connectAs(ctx, e, *d.As)
	}
	dialer := net.Dialer{KeepAlive: -1, Control: control} // the peer cannot go away unnoticed
	nc, err := dialer.DialContext(ctx, e.network, e.address)
	return settled(nc, err)
}

// control has a connection reset if it is given up after the service has accepted it: an end would
// look to the service as if all had been sent.
func control(network, _ string, raw syscall.RawConn) error {
	if network == "unix" {
		return nil
	}
	var err error
	return errors.Join(raw.Control(func(fd uintptr) { err = resetOnClose(fd) }), err)
}

// settled takes back what control has set, of a connection that is wanted.
func settled(nc net.Conn, err error) (net.Conn, error) {
	tcp, ok := nc.(*net.TCPConn)
	if err != nil || !ok {
		return nc, err
	}
	if err := tcp.SetLinger(-1); err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	return tcp, nil
}
