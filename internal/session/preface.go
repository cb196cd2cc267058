package session

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/v1"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

const (
	// greetTime is how long a host has for the preface, and again for the
	// control stream and its hello.
	greetTime = 10 * time.Second

	// messageTime is how long a request may take from its length to its last byte,
	// if memory is reserved for it.
	messageTime = 30 * time.Second

	// lingerTime is how long a refused peer has to read why.
	lingerTime = time.Second
)

var errVersion1 = errors.New("protocol version 1 is disabled on this agent (--disable-v1): use version 2")

// A greeting is the beginning of a connection.
type greeting struct {
	lines  *v1.Reader
	first  *v1.Frame // of a version-1 host, else nil
	behind []byte    // the first line, and has been read already
}

// readGreeting reads the first line, with which the host picks the protocol.
func (c *conn) readGreeting() (*greeting, error) {
	_ = c.net.SetReadDeadline(time.Now().Add(greetTime))
	longest := v1.MaxLine
	if c.server.DisableV1 {
		longest = wire.MaxPreface
	}
	g := &greeting{lines: v1.NewReader(c.net, wire.MaxPreface, longest, &c.server.lines)}
	line, err := g.lines.Line()
	if errors.Is(err, v1.ErrNotObject) || c.server.DisableV1 && errors.Is(err, v1.ErrTooLong) {
		err = wire.ErrPrefaceTooLong
	}
	if err == nil {
		err = g.parse(line, c.server.DisableV1)
	}
	if err != nil {
		return g, err
	}
	_ = c.net.SetReadDeadline(time.Time{})
	g.behind = g.lines.Buffered()
	return g, nil
}

// drop gives up a connection that is refused.
func (g *greeting) drop() { g.lines.Close() }

// parse finds out what the first line asks for. A version-1 host's may be longer
// than a preface.
func (g *greeting) parse(line []byte, disabled bool) error {
	err := wire.ParsePreface(line)
	asked, ok := errors.AsType[*wire.ProtocolError](err)
	switch {
	case ok && v1.Begins(asked.Type) && disabled:
		return errVersion1
	case ok && v1.Begins(asked.Type), errors.Is(err, wire.ErrPrefaceTooLong):
	default:
		return err
	}
	first, malformed := v1.Decode(line)
	if malformed != nil {
		return malformed
	}
	if !v1.Begins(string(first.Type)) {
		return err
	}
	g.first = first
	return nil
}

// stage is how far the connection has come: a version-1 host has no more to say.
func (g *greeting) stage() stage {
	if g.first == nil {
		return prefaced
	}
	return greeted
}

// conn returns the connection that the session is served over.
func (g *greeting) conn(c *conn) io.ReadWriteCloser {
	if g.first == nil {
		return &prefixed{Conn: c.net, prefix: g.behind}
	}
	return v1.NewHost(c.net, g.lines, g.first, func() { c.server.advance(c, served) })
}

// prefixed is a connection whose first bytes have been read already.
type prefixed struct {
	net.Conn
	prefix []byte
}

// Unwrap is for writes, which are the connection's own.
func (p *prefixed) Unwrap() io.ReadWriteCloser { return p.Conn }

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.prefix) == 0 {
		return p.Conn.Read(b)
	}
	n := copy(b, p.prefix)
	if p.prefix = p.prefix[n:]; len(p.prefix) == 0 {
		p.prefix = nil // the buffer may go
	}
	return n, nil
}

// refuse tells a peer whose first line is wrong, or that is one too many, why it
// is not served, and closes the connection.
func refuse(nc net.Conn, err error) {
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(lingerTime))
	if _, err := nc.Write(wire.AppendRefusal(nil, refusalKind(err), refusal(err))); err != nil {
		return
	}
	// The peer's bytes are read: closing a socket with unread input may take the answer
	// away from the peer.
	_, _ = io.Copy(io.Discard, nc)
}

// refusalKind is empty if the peer does not speak this agent's protocol.
func refusalKind(err error) wire.ErrorKind {
	switch {
	case errors.Is(err, errLimit), errors.Is(err, v1.ErrMemory):
		return wire.Limit
	case errors.Is(err, errVersion1):
		return wire.Unsupported
	default:
		return ""
	}
}

func refusal(err error) string {
	var protocol *wire.ProtocolError
	switch {
	case errors.As(err, &protocol),
		errors.Is(err, errLimit), errors.Is(err, errVersion1),
		errors.Is(err, v1.ErrMalformed), errors.Is(err, v1.ErrTooLong), errors.Is(err, v1.ErrMemory),
		errors.Is(err, wire.ErrPrefaceTooLong), errors.Is(err, wire.ErrPrefaceInvalid):
		return err.Error()
	default:
		return "no first line: " + err.Error()
	}
}
