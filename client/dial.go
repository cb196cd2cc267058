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
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Dial connects to the agent that target names, as [ParseTarget] has it.
// Cancelling ctx, or its deadline, ends every step of it; afterwards ctx has no
// effect. Dial does not wait for the agent's greeting, so that a first command
// costs one round trip: an agent that refuses this host, or is none, is found
// out by the first call on the Client, or by [Client.Ready]. So is one that
// speaks protocol version 1 only, which the Client then speaks, too. The error is
// what [ParseTarget] says is wrong with target, or a [*DialError]. The caller
// closes the Client.
func Dial(ctx context.Context, target string) (*Client, error) {
	return DialProtocol(ctx, target, ProtocolAuto)
}

// DialProtocol is [Dial] for an agent that is to be spoken to by one version of
// the protocol. With [Protocol1] it makes no connection yet.
func DialProtocol(ctx context.Context, target string, p Protocol) (*Client, error) {
	t, err := ParseTarget(target)
	if err != nil {
		return nil, err
	}
	c, err := route{dial: t.Dial, target: t.String()}.client(ctx, p)
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
// a VMM of another kind. The Client owns the connection. Where the agent speaks
// version 1 only, the Client calls dial again, for each command, until it is
// closed.
func DialWith(ctx context.Context, dial func(context.Context) (net.Conn, error)) (*Client, error) {
	return route{dial: dial, target: "the agent"}.client(ctx, ProtocolAuto)
}

// NewClient makes a Client of a connection that leads to an agent, which it
// then owns, and closes on failure too. Close of conn must end a Read and a
// Write that are blocked, as a net.Conn's does. ctx is as for [Dial]. An agent that
// speaks version 1 only is [ErrNotSpoken]: it has closed the connection, and there
// is no other. For one that is known to, see [Version1].
func NewClient(ctx context.Context, conn io.ReadWriteCloser) (*Client, error) {
	return newClientWithin(ctx, conn, nil)
}

// newClientWithin is newClient within ctx.
func newClientWithin(ctx context.Context, conn io.ReadWriteCloser, older func() (*Client, error)) (*Client, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	c, err := newClient(conn, older)
	if !stop() {
		// ctx has ended, and conn is closed or about to be.
		if c != nil {
			_ = c.Close()
		}
		return nil, ctx.Err()
	}
	return c, err
}

func newClient(conn io.ReadWriteCloser, older func() (*Client, error)) (*Client, error) {
	if v1, ok := conn.(*version1); ok {
		conn = v1.agent()
	}
	session, control, err := mux.Client(&answered{ReadWriteCloser: conn}, wire.Preface)
	if err != nil {
		if err = beforeHello(err); older != nil && speaksVersion1(err) {
			return older() // it has answered already
		}
		return nil, err
	}
	c := &Client{
		mux:     session,
		control: control,
		calls:   make(map[uint64]*call),

		unanswered: make(map[uint64][]*mux.Stream),

		greeted: make(chan struct{}),
		done:    make(chan struct{}),
		over:    make(chan struct{}),
		older:   older,
		sending: make(chan struct{}, maxSending),
		born:    time.Now(),
	}
	if older != nil {
		c.another = c.takenOver
	}
	if c.old, _ = conn.(*oldAgent); c.old != nil {
		c.hello = Hello{Protocol: Protocol1}
	}
	hello := &wire.Hello{
		Min: wire.ProtocolMin, Max: wire.ProtocolMax,
		Version: version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
	}
	if err := wire.Write(control, hello); err != nil && older == nil {
		return nil, errors.Join(beforeHello(err), session.Close())
	}
	// What else keeps hello from being sent, such as a refusal that has come
	// already, receive learns of.
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
		return &refusedError{err: fmt.Errorf("%w: not a cocoon-agent, it answered %.64q", ErrNotSpoken, line)}
	case kind == "":
		return &refusedError{err: fmt.Errorf("%w: %s", ErrNotSpoken, printable(message, maxMessage)), version1: true}
	default:
		return &refusedError{err: remoteError(kind, message)}
	}
}

// A refusedError is the answer of a peer that has read no request: it does not
// speak the protocol, which is ErrNotSpoken, or takes no more connections,
// which is a RemoteError.
type refusedError struct {
	err      error
	version1 bool // it answers as an agent does that speaks version 1
}

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }
