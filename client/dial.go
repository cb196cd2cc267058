package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/debug"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Dial connects to the agent that target names, as [ParseTarget] has it.
// Cancelling ctx, or its deadline, ends every step of it; afterwards ctx has no
// effect. Dial does not wait for the agent's greeting, so that a first command
// costs one round trip: an agent that refuses this host, or is none, is found
// out by the first call on the Client, or by [Client.Ready]. The error is what
// [ParseTarget] says is wrong with target, or a [*DialError]. The caller closes
// the Client.
func Dial(ctx context.Context, target string) (*Client, error) {
	t, err := ParseTarget(target)
	if err != nil {
		return nil, err
	}
	c, err := DialWith(ctx, t.Dial)
	return c, dialError(t.String(), err)
}

// dialError makes err, where it is one, a DialError, which it may be already.
func dialError(target string, err error) error {
	if err == nil {
		return nil
	}
	if dial, ok := errors.AsType[*DialError](err); ok {
		err = dial.Err
	}
	return &DialError{Target: target, Err: err}
}

// DialWith is [Dial] over a connection that dial makes: through a proxy, or to
// a VMM of another kind. The Client owns the connection.
func DialWith(ctx context.Context, dial func(context.Context) (net.Conn, error)) (*Client, error) {
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	return NewClient(ctx, conn)
}

// NewClient makes a Client of a connection that leads to an agent, which it
// then owns, and closes on failure too. Close of conn must end a Read and a
// Write that are blocked, as a net.Conn's does. ctx is as for [Dial].
func NewClient(ctx context.Context, conn io.ReadWriteCloser) (*Client, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	c, err := newClient(conn)
	if !stop() {
		// ctx has ended, and conn is closed or about to be.
		if c != nil {
			_ = c.Close()
		}
		return nil, ctx.Err()
	}
	return c, err
}

func newClient(conn io.ReadWriteCloser) (*Client, error) {
	session, control, err := mux.Client(&answered{ReadWriteCloser: conn}, wire.Preface)
	if err != nil {
		return nil, beforeHello(err)
	}
	c := &Client{
		mux:     session,
		control: control,
		calls:   make(map[uint64]*call),
		greeted: make(chan struct{}),
		done:    make(chan struct{}),
		sending: make(chan struct{}, maxSending),
	}
	hello := &wire.Hello{
		Min: wire.ProtocolMin, Max: wire.ProtocolMax,
		Version: version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
	}
	if err := wire.Write(control, hello); err != nil {
		return nil, errors.Join(beforeHello(err), session.Close())
	}
	go c.receive() // stopped by Close, or by the connection's end; Close waits for it
	return c, nil
}

// version is this module's in the program that links it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	const path = "github.com/cocoonstack/cocoon-agent"
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == path {
			return m.Version
		}
	}
	return ""
}

// answered is a connection to an agent, below yamux. It reads the line with which
// an agent that does not speak this protocol, or what is no agent, answers the
// preface.
type answered struct {
	io.ReadWriteCloser
	checked bool // only the mux's receiving goroutine knows
}

// Unwrap is for writes, which are the connection's own.
func (c *answered) Unwrap() io.ReadWriteCloser { return c.ReadWriteCloser }

func (c *answered) Read(p []byte) (int, error) {
	n, err := c.ReadWriteCloser.Read(p)
	if c.checked || n == 0 {
		return n, err
	}
	c.checked = true
	if p[0] == 0 { // yamux's version
		return n, err
	}
	return 0, c.refusal(p[:n])
}

// refusal reads the rest of the line that begins with first.
func (c *answered) refusal(first []byte) error {
	line := bytes.Clone(first)
	for !bytes.ContainsRune(line, '\n') && len(line) < wire.MaxPreface {
		var more [256]byte
		n, err := c.ReadWriteCloser.Read(more[:])
		line = append(line, more[:n]...)
		if err != nil {
			break
		}
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	kind, message, ok := wire.ParseRefusal(line)
	switch {
	case !ok:
		return &refusedError{fmt.Errorf("%w: this is no cocoon-agent: it answered %.64q", ErrNotSpoken, line)}
	case kind == "":
		return &refusedError{fmt.Errorf("%w: %s", ErrNotSpoken, message)}
	default:
		return &refusedError{remoteError(kind, message)}
	}
}

// A refusedError is the answer of a peer that has read no request: it does not
// speak the protocol, which is ErrNotSpoken, or takes no more connections,
// which is a RemoteError.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }
