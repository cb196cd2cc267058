package mux_test

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
	"go.uber.org/goleak"
)

// Numbers of https://github.com/hashicorp/yamux/blob/master/spec.md
const (
	yamuxData uint8 = iota
	yamuxWindowUpdate
	yamuxPing
	yamuxGoAway
)

const (
	yamuxSYN uint16 = 1 << iota
	yamuxACK
	yamuxFIN
	yamuxRST
)

const yamuxWindow = 256 << 10

// yamuxPatience is when a test gives up. No outcome depends on it.
const yamuxPatience = 30 * time.Second

func yamuxConfig() *yamux.Config {
	c := yamux.DefaultConfig()
	c.EnableKeepAlive = false
	c.ConnectionWriteTimeout = yamuxPatience
	c.StreamOpenTimeout = 0
	c.StreamCloseTimeout = 0
	c.LogOutput = io.Discard
	return c
}

// yamuxPipe returns the ends of a connection. When the test is over, they are
// closed and none of its goroutines is left.
func yamuxPipe(t *testing.T) (net.Conn, net.Conn) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	ours, theirs := net.Pipe()
	t.Cleanup(func() { _, _ = ours.Close(), theirs.Close() })
	return ours, theirs
}

func yamuxStart(
	t *testing.T,
	side func(io.ReadWriteCloser, *yamux.Config) (*yamux.Session, error),
	conn net.Conn,
	config *yamux.Config,
) *yamux.Session {
	t.Helper()
	session, err := side(conn, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	return session
}

func yamuxAwait[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(yamuxPatience):
		t.Fatalf("waited in vain for %s", what)
		panic("unreachable")
	}
}

// A yamuxFrame is a frame's header, as on the wire.
type yamuxFrame struct {
	Version, Kind  uint8
	Flags          uint16
	Stream, Length uint32
}

// A yamuxPeer is the other end of a session, frame by frame.
type yamuxPeer struct {
	conn   net.Conn
	frames chan yamuxReceived // closed at the end of the connection
	pings  uint32
}

type yamuxReceived struct {
	frame yamuxFrame
	body  string
}

// newYamuxPeer also returns the connection for the session.
func newYamuxPeer(t *testing.T) (*yamuxPeer, net.Conn) {
	t.Helper()
	ours, theirs := yamuxPipe(t)
	p := &yamuxPeer{conn: ours, frames: make(chan yamuxReceived, 64)}
	go p.receive()
	return p, theirs
}

// receive takes what the session sends, and is stopped by the connection's end.
func (p *yamuxPeer) receive() {
	defer close(p.frames)
	for {
		var f yamuxFrame
		if err := binary.Read(p.conn, binary.BigEndian, &f); err != nil {
			return
		}
		var body []byte
		if f.Kind == yamuxData {
			body = make([]byte, f.Length)
		}
		if _, err := io.ReadFull(p.conn, body); err != nil {
			return
		}
		p.frames <- yamuxReceived{f, string(body)}
	}
}

func (p *yamuxPeer) send(t *testing.T, f yamuxFrame, body string) {
	t.Helper()
	_ = p.conn.SetWriteDeadline(time.Now().Add(yamuxPatience))
	b, err := binary.Append(nil, binary.BigEndian, f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.conn.Write(append(b, body...)); err != nil {
		t.Fatalf("send %+v: %v", f, err)
	}
}

// next returns the next frame that the session sends.
func (p *yamuxPeer) next(t *testing.T) yamuxReceived {
	t.Helper()
	got := yamuxAwait(t, "a frame", p.frames)
	if got == (yamuxReceived{}) {
		t.Fatal("the connection has ended")
	}
	return got
}

// expect wants f to be the next frame that the session sends, and returns its body.
func (p *yamuxPeer) expect(t *testing.T, f yamuxFrame) string {
	t.Helper()
	got := p.next(t)
	if got.frame != f {
		t.Fatalf("got frame %+v, want %+v", got.frame, f)
	}
	return got.body
}

func (p *yamuxPeer) expectEOF(t *testing.T) {
	t.Helper()
	if got := yamuxAwait(t, "the end", p.frames); got != (yamuxReceived{}) {
		t.Fatalf("got frame %+v, want the end of the connection", got.frame)
	}
}

// settle returns when the session has handled everything that has been sent,
// and wants no frame in answer to it.
func (p *yamuxPeer) settle(t *testing.T) {
	t.Helper()
	p.pings++
	p.send(t, yamuxFrame{Kind: yamuxPing, Flags: yamuxSYN, Length: p.pings}, "")
	p.expect(t, yamuxFrame{Kind: yamuxPing, Flags: yamuxACK, Length: p.pings})
}
