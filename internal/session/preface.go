//go:build linux

package session

import (
	"bufio"
	"errors"
	"io"
	"net"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

const (
	// greetTime is how long a host has for the preface, and again for the
	// control stream and its hello.
	greetTime = 10 * time.Second

	// lingerTime is how long a refused peer has to read why.
	lingerTime = time.Second
)

// readPreface reads the first line of nc, and returns nc with what came behind it.
func readPreface(nc net.Conn) (net.Conn, error) {
	_ = nc.SetReadDeadline(time.Now().Add(greetTime))
	br := bufio.NewReaderSize(nc, wire.MaxPreface)
	if err := wire.ReadPreface(br); err != nil {
		return nil, err
	}
	_ = nc.SetReadDeadline(time.Time{})
	behind, _ := br.Peek(br.Buffered())
	return &prefixed{Conn: nc, prefix: behind}, nil
}

// prefixed is a connection of which something has been read already.
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
	// What the peer has sent is read: closing a socket with unread input may
	// take the answer away from it.
	_, _ = io.Copy(io.Discard, nc)
}

// refusalKind is empty where the peer has not said what this agent speaks.
func refusalKind(err error) wire.ErrorKind {
	if errors.Is(err, errLimit) {
		return wire.Limit
	}
	return ""
}

func refusal(err error) string {
	var protocol *wire.ProtocolError
	switch {
	case errors.As(err, &protocol),
		errors.Is(err, errLimit),
		errors.Is(err, wire.ErrPrefaceTooLong), errors.Is(err, wire.ErrPrefaceInvalid):
		return err.Error()
	default:
		return "no first line: " + err.Error()
	}
}
