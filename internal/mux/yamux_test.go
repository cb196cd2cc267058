// The facts about yamux v0.1.2 that this package rests on, each pinned against
// yamux itself. One that fails after an upgrade of yamux says which decision to
// think over. Those about a single stream are in yamux_stream_test.go, the
// scaffolding is in yamux_peer_test.go.
package mux_test

import (
	"errors"
	"io"
	"net"
	"reflect"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
)

// So the end of a stream proves nothing: byte counts on the control stream say
// whether all has arrived, and mux.Stream tells EOF from a lost connection.
func TestYamuxDeadSessionReadsAsEOF(t *testing.T) {
	reset := func(c net.Conn) net.Conn { return yamuxResetConn{c} }
	closed := func(c net.Conn) net.Conn { return c }
	for _, test := range []struct {
		name   string
		end    func(net.Conn) net.Conn
		length uint32 // of the frame; 4 bytes of it arrive
	}{
		{"closed between frames", closed, 4},
		{"closed inside a frame", closed, 100},
		{"reset between frames", reset, 4},
		{"reset inside a frame", reset, 100},
	} {
		t.Run(test.name, func(t *testing.T) {
			peer, conn := newYamuxPeer(t)
			session := yamuxStart(t, yamux.Server, test.end(conn), yamuxConfig())
			peer.send(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: 1}, "")
			stream := yamuxAccept(t, session)
			peer.send(t, yamuxFrame{Kind: yamuxData, Stream: 1, Length: test.length}, "half")
			_ = peer.conn.Close()

			got, err := io.ReadAll(stream) // nil stands for io.EOF
			if string(got) != "half" || err != nil {
				t.Errorf("read %q, %v; want %q, EOF", got, err, "half")
			}
		})
	}
}

// yamuxResetConn ends as a connection does whose other end has been reset.
type yamuxResetConn struct{ net.Conn }

func (c yamuxResetConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		err = syscall.ECONNRESET
	}
	return n, err
}

// So it is off: mux owns the life of streams.
func TestYamuxStreamOpenTimeoutClosesTheWholeSession(t *testing.T) {
	peer, conn := newYamuxPeer(t)
	config := yamuxConfig()
	session := yamuxStart(t, yamux.Client, conn, config)
	healthy := yamuxOpen(t, session)
	peer.send(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxACK, Stream: 1}, "")

	config.StreamOpenTimeout = time.Millisecond // read by each Open
	_, _ = session.OpenStream()                 // the peer does not answer

	yamuxAwait(t, "the session to close", session.CloseChan())
	yamuxReadEOF(t, healthy)
}

// So mux takes streams off the queue at once and makes the queue long.
func TestYamuxStreamsBeyondTheBacklogAreReset(t *testing.T) {
	peer, conn := newYamuxPeer(t)
	config := yamuxConfig()
	config.AcceptBacklog = 2
	session := yamuxStart(t, yamux.Server, conn, config)

	for _, id := range []uint32{1, 3, 5} {
		peer.send(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: id}, "")
	}
	peer.expect(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxRST, Stream: 5})
	peer.settle(t)
	if n := session.NumStreams(); n != 2 {
		t.Errorf("%d streams are left, want the first 2", n)
	}
	for _, id := range []uint32{1, 3} {
		if got := yamuxAccept(t, session).StreamID(); got != id {
			t.Errorf("accepted stream %d, want %d", got, id)
		}
	}
}

// So the backlog is the same on both ends, and the agent accepts, and ends its
// direction of, a stream without waiting for anything. An unanswered stream's
// id is never forgotten: a few bytes on the host's side for each.
func TestYamuxOpenWaitsAtItsOwnBacklogForAnAnswer(t *testing.T) {
	for _, test := range []struct {
		name      string
		flags     uint16
		inFlight  int // streams that yamux takes for unanswered afterwards
		remaining int // streams that are left
	}{
		{"acknowledged", yamuxACK, 0, 1},
		{"closed on both sides", yamuxFIN, 1, 0},
		{"reset", yamuxRST, 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			peer, conn := newYamuxPeer(t)
			config := yamuxConfig()
			config.AcceptBacklog = 1
			session := yamuxStart(t, yamux.Client, conn, config)
			_ = yamuxOpen(t, session).Close()
			peer.expect(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: 1})
			peer.expect(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxFIN, Stream: 1})

			opened := make(chan error, 1)
			go func() {
				_, err := session.OpenStream()
				opened <- err
			}()
			peer.settle(t) // no SYN comes first
			peer.send(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: test.flags, Stream: 1}, "")
			peer.expect(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: 3})
			if err := yamuxAwait(t, "Open to return", opened); err != nil {
				t.Errorf("Open: %v", err)
			}

			peer.settle(t)
			inFlight := reflect.ValueOf(session).Elem().FieldByName("inflight").Len() - 1
			remaining := session.NumStreams() - 1
			if inFlight != test.inFlight || remaining != test.remaining {
				t.Errorf("of the first stream, %d in flight and %d open are left; want %d and %d",
					inFlight, remaining, test.inFlight, test.remaining)
			}
		})
	}
}

// An id is chosen before the SYN is queued, so two concurrent Opens may send
// theirs in either order, and the other end takes them as they come. So a
// stream that has not been accepted yet may have a lower id than one that has.
func TestYamuxAcceptsStreamsInTheOrderOfTheirSYNs(t *testing.T) {
	peer, conn := newYamuxPeer(t)
	session := yamuxStart(t, yamux.Server, conn, yamuxConfig())
	for _, id := range []uint32{7, 5} {
		peer.send(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: id}, "")
		if got := yamuxAccept(t, session).StreamID(); got != id {
			t.Errorf("accepted stream %d, want %d", got, id)
		}
	}
}

// So a host sends GoAway first of all: it still opens streams, an agent cannot.
func TestYamuxGoAwayRefusesStreamsOfThePeerOnly(t *testing.T) {
	host, agent := yamuxPair(t, yamuxConfig(), yamuxConfig())
	if err := host.GoAway(); err != nil {
		t.Fatal(err)
	}
	yamuxSettle(t, host)

	if _, err := agent.OpenStream(); !errors.Is(err, yamux.ErrRemoteGoAway) {
		t.Errorf("the peer's Open: %v, want %v", err, yamux.ErrRemoteGoAway)
	}
	out := yamuxOpen(t, host)
	in := yamuxAccept(t, agent)
	yamuxWrite(t, out, []byte("there"))
	yamuxRead(t, in, "there")
	yamuxWrite(t, in, []byte("back"))
	yamuxRead(t, out, "back")
}

// So a hostile agent that opens streams all the same makes its host hold nothing.
func TestYamuxStreamsOpenedAfterGoAwayAreReset(t *testing.T) {
	peer, conn := newYamuxPeer(t)
	session := yamuxStart(t, yamux.Client, conn, yamuxConfig())
	if err := session.GoAway(); err != nil {
		t.Fatal(err)
	}
	peer.expect(t, yamuxFrame{Kind: yamuxGoAway})

	for _, kind := range []uint8{yamuxWindowUpdate, yamuxData} {
		peer.send(t, yamuxFrame{Kind: kind, Flags: yamuxSYN, Stream: 2}, "")
		peer.expect(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxRST, Stream: 2})
	}
	peer.send(t, yamuxFrame{Kind: yamuxData, Stream: 2, Length: 6}, "thrown") // away
	peer.settle(t)
	if n := session.NumStreams(); n != 0 {
		t.Errorf("%d streams, want none", n)
	}
}

// So yamux's ping says that the peer's process runs and no more: whether the
// agent serves is asked on the control stream.
func TestYamuxAnswersAPingByItself(t *testing.T) {
	peer, conn := newYamuxPeer(t)
	yamuxStart(t, yamux.Server, conn, yamuxConfig())
	peer.send(t, yamuxFrame{Kind: yamuxPing, Flags: yamuxSYN, Length: 42}, "")
	peer.expect(t, yamuxFrame{Kind: yamuxPing, Flags: yamuxACK, Length: 42})
}

// So mux gives yamux a connection that sends header and body together.
func TestYamuxWritesHeaderAndBodySeparately(t *testing.T) {
	_, conn := newYamuxPeer(t)
	recorder := &yamuxRecorder{Conn: conn}
	session := yamuxStart(t, yamux.Client, recorder, yamuxConfig())
	stream := yamuxOpen(t, session)
	yamuxWrite(t, stream, []byte("hello"))

	const header = 12
	if got, want := recorder.lengths(), []int{header, header, 5}; !slices.Equal(got, want) {
		t.Errorf("SYN and data went out in writes of %v bytes, want %v", got, want)
	}
}

type yamuxRecorder struct {
	net.Conn

	mu     sync.Mutex
	writes []int
}

func (r *yamuxRecorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	r.writes = append(r.writes, len(p))
	r.mu.Unlock()
	return r.Conn.Write(p)
}

func (r *yamuxRecorder) lengths() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.writes)
}

// So mux flushes before it closes.
func TestYamuxSessionCloseLosesWhatIsQueued(t *testing.T) {
	peer, conn := newYamuxPeer(t)
	gate := newYamuxGate(conn)
	config := yamuxConfig()
	session := yamuxStart(t, yamux.Client, gate, config)
	stream := yamuxOpen(t, session)
	peer.expect(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: 1})

	gate.shut()
	// The first is in the connection's Write then, the second one queued.
	yamuxWriteTimesOut(t, config, stream, "first")
	yamuxWriteTimesOut(t, config, stream, "second")
	if err := session.Close(); err != nil {
		t.Errorf("Close: %v, want nil", err)
	}
	peer.expectEOF(t)
}

// So mux's write timeout never fires: what failed has not been given up, and a
// retry would send it twice. Nor can the stream write anything else: the late
// frame's result is taken for the next one's.
func TestYamuxTimedOutWriteIsSentLater(t *testing.T) {
	peer, conn := newYamuxPeer(t)
	gate := newYamuxGate(conn)
	config := yamuxConfig()
	session := yamuxStart(t, yamux.Client, gate, config)
	stream := yamuxOpen(t, session)
	peer.expect(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: 1})

	gate.shut()
	yamuxWriteTimesOut(t, config, stream, "late")
	gate.open()
	body := peer.expect(t, yamuxFrame{Kind: yamuxData, Stream: 1, Length: 4})
	if body != "late" {
		t.Errorf("the peer got %q, want %q", body, "late")
	}

	gate.shut()
	yamuxWrite(t, stream, []byte("next")) // succeeds, though nothing takes it
}

// Nor has it been counted: the next frame may exceed the peer's window, which
// ends the whole session.
func TestYamuxTimedOutWriteIsNotCountedAgainstTheWindow(t *testing.T) {
	ours, theirs := yamuxPipe(t)
	gate := newYamuxGate(ours)
	config := yamuxConfig()
	host := yamuxStart(t, yamux.Client, gate, config)
	agent := yamuxStart(t, yamux.Server, theirs, yamuxConfig())
	out := yamuxOpen(t, host)
	yamuxAccept(t, agent)
	yamuxSettle(t, host)

	gate.shut()
	yamuxWriteTimesOut(t, config, out, string(make([]byte, yamuxWindow)))
	gate.open()
	_, _ = out.Write([]byte{0}) // it may see the end already

	yamuxAwait(t, "the receiver to give up", agent.CloseChan())
	if _, err := agent.AcceptStream(); !errors.Is(err, yamux.ErrRecvWindowExceeded) {
		t.Errorf("the receiver ended with %v, want %v", err, yamux.ErrRecvWindowExceeded)
	}
}

// yamuxWriteTimesOut wants the connection to be blocked.
func yamuxWriteTimesOut(t *testing.T, config *yamux.Config, stream *yamux.Stream, s string) {
	t.Helper()
	long := config.ConnectionWriteTimeout
	// Each Write reads it. It is long enough for the frame to be queued.
	config.ConnectionWriteTimeout = 50 * time.Millisecond
	defer func() { config.ConnectionWriteTimeout = long }()
	if n, err := stream.Write([]byte(s)); n != 0 || !errors.Is(err, yamux.ErrConnectionWriteTimeout) {
		t.Fatalf("Write: %d, %v; want 0, %v", n, err, yamux.ErrConnectionWriteTimeout)
	}
}

// So mux writes at most MaxFrame bytes at a time: control messages and pings
// wait for the whole frame.
func TestYamuxFrameIsAsLongAsTheWindow(t *testing.T) {
	for _, window := range []uint32{yamuxWindow, 1 << 20} {
		peer, conn := newYamuxPeer(t)
		session := yamuxStart(t, yamux.Client, conn, yamuxConfig())
		stream := yamuxOpen(t, session)
		peer.expect(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: 1})
		peer.send(t, yamuxFrame{
			Kind: yamuxWindowUpdate, Flags: yamuxACK, Stream: 1, Length: window - yamuxWindow,
		}, "")
		peer.settle(t)

		yamuxWrite(t, stream, make([]byte, window))
		peer.expect(t, yamuxFrame{Kind: yamuxData, Stream: 1, Length: window})
	}
}
