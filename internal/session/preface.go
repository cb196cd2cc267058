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

// refuse tells a peer whose first line is wrong why it is not served, and
// closes the connection.
func refuse(nc net.Conn, err error) {
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(lingerTime))
	if _, err := nc.Write(wire.AppendErrorLine(nil, refusal(err))); err != nil {
		return
	}
	// What the peer has sent is read: closing a socket with unread input may
	// take the answer away from it.
	_, _ = io.Copy(io.Discard, nc)
}

func refusal(err error) string {
	var protocol *wire.ProtocolError
	switch {
	case errors.As(err, &protocol),
		errors.Is(err, wire.ErrPrefaceTooLong), errors.Is(err, wire.ErrPrefaceInvalid):
		return err.Error()
	default:
		return "no first line: " + err.Error()
	}
}
