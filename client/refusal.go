package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/transport"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A refusedError is the answer of a peer that has read no request: it does not
// speak the protocol, which is ErrNotSpoken, or takes no more connections,
// which is a RemoteError.
type refusedError struct {
	err      error
	version1 bool // it answers as an agent does that speaks version 1
}

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// speaksVersion1 reports whether err is the refusal of an agent that does.
func speaksVersion1(err error) bool {
	refused, ok := errors.AsType[*refusedError](err)
	return ok && refused.version1
}

// answered is a connection to an agent, below yamux. It reads the line that answers the
// preface if the agent does not speak this protocol, or if the peer is not an agent.
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

// errNoGreeting is the error of a connection that the agent closes at once.
var errNoGreeting = errors.New("the agent closed the connection before its hello: " +
	"it does not serve this peer, or it is not cocoon-agent")

// beforeHello returns why a connection has ended that ended before the agent's hello.
func beforeHello(err error) error {
	if refused, ok := errors.AsType[*refusedError](err); ok {
		return fmt.Errorf("%w: %w", ErrLost, refused) // without the operation that failed
	}
	if (errors.Is(err, io.EOF) || transport.HungUp(err)) && !errors.Is(err, mux.ErrClosed) {
		return fmt.Errorf("%w: %w", ErrLost, errNoGreeting)
	}
	return err
}
