package mux_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
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

func yamuxPair(t *testing.T, hosts, agents *yamux.Config) (host, agent *yamux.Session) {
	t.Helper()
	ours, theirs := yamuxPipe(t)
	return yamuxStart(t, yamux.Client, ours, hosts), yamuxStart(t, yamux.Server, theirs, agents)
}

// yamuxSettle returns when the peer has handled everything that session has sent.
func yamuxSettle(t *testing.T, session *yamux.Session) {
	t.Helper()
	if _, err := session.Ping(); err != nil {
		t.Fatal(err)
	}
}

func yamuxOpen(t *testing.T, session *yamux.Session) *yamux.Stream {
	t.Helper()
	stream, err := session.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.SetDeadline(time.Now().Add(yamuxPatience))
	return stream
}

func yamuxAccept(t *testing.T, session *yamux.Session) *yamux.Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), yamuxPatience)
	defer cancel()
	stream, err := session.AcceptStreamWithContext(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.SetDeadline(time.Now().Add(yamuxPatience))
	return stream
}

func yamuxWrite(t *testing.T, stream *yamux.Stream, p []byte) {
	t.Helper()
	if n, err := stream.Write(p); n != len(p) || err != nil {
		t.Fatalf("Write: %d, %v; want %d", n, err, len(p))
	}
}

// yamuxFill writes until the window is full, and returns how much that was. Its
// deadline has passed, which yamux looks at only where Write would block.
func yamuxFill(t *testing.T, stream *yamux.Stream) int {
	t.Helper()
	_ = stream.SetWriteDeadline(time.Unix(1, 0))
	n, err := stream.Write(make([]byte, 2<<20))
	if !errors.Is(err, yamux.ErrTimeout) {
		t.Fatalf("Write: %d, %v; want %v", n, err, yamux.ErrTimeout)
	}
	return n
}

func yamuxRead(t *testing.T, stream *yamux.Stream, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(stream, got); err != nil {
		t.Fatalf("read %d bytes of %d: %v", n, len(want), err)
	}
	if string(got) != want {
		t.Fatalf("read %.40q, want %.40q", got, want)
	}
}

func yamuxReadEOF(t *testing.T, stream *yamux.Stream) {
	t.Helper()
	if n, err := stream.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("read %d, %v; want EOF", n, err)
	}
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

// A yamuxGate is a connection that takes no bytes while it is shut.
type yamuxGate struct {
	net.Conn
	closing sync.Once
	closed  chan struct{}

	mu     sync.Mutex
	opened chan struct{} // closed while the gate is open
}

func newYamuxGate(conn net.Conn) *yamuxGate {
	g := &yamuxGate{Conn: conn, closed: make(chan struct{}), opened: make(chan struct{})}
	close(g.opened)
	return g
}

func (g *yamuxGate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opened = make(chan struct{})
}

func (g *yamuxGate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.opened)
}

func (g *yamuxGate) Write(p []byte) (int, error) {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	select {
	case <-opened:
		return g.Conn.Write(p)
	case <-g.closed:
		return 0, net.ErrClosed
	}
}

func (g *yamuxGate) Close() error {
	g.closing.Do(func() { close(g.closed) })
	return g.Conn.Close()
}
