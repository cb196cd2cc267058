package mux_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/yamux"
)

// So it is off: mux owns the life of streams.
func TestYamuxStreamCloseTimeoutResetsTheStream(t *testing.T) {
	peer, conn := newYamuxPeer(t)
	config := yamuxConfig()
	config.StreamCloseTimeout = time.Millisecond
	session := yamuxStart(t, yamux.Client, conn, config)
	stream := yamuxOpen(t, session)
	yamuxWrite(t, stream, []byte("tail"))
	_ = stream.Close()

	peer.expect(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: 1})
	peer.expect(t, yamuxFrame{Kind: yamuxData, Stream: 1, Length: 4})
	reset := yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxRST, Stream: 1}
	for got := peer.next(t).frame; got != reset; { // on either side of the FIN: the timeout is short
		got = peer.next(t).frame
	}
}

// So nothing in mux resets a stream: a slow reader would lose its tail, even
// after the end of the stream has arrived.
func TestYamuxResetThrowsAwayWhatIsUnread(t *testing.T) {
	peer, conn := newYamuxPeer(t)
	session := yamuxStart(t, yamux.Server, conn, yamuxConfig())
	peer.send(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: 1}, "")
	stream := yamuxAccept(t, session)
	peer.expect(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxACK, Stream: 1})

	peer.send(t, yamuxFrame{Kind: yamuxData, Stream: 1, Length: 4}, "read")
	yamuxRead(t, stream, "read")
	peer.send(t, yamuxFrame{Kind: yamuxData, Stream: 1, Length: 4}, "tail")
	peer.send(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxFIN, Stream: 1}, "")
	peer.send(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxRST, Stream: 1}, "")
	peer.settle(t)

	if got, err := io.ReadAll(stream); len(got) != 0 || !errors.Is(err, yamux.ErrConnectionReset) {
		t.Errorf("read %q, %v; want nothing, %v", got, err, yamux.ErrConnectionReset)
	}
}

// So the end of stdin is a Close, in-band, and ends nothing else.
func TestYamuxCloseIsAHalfClose(t *testing.T) {
	host, agent := yamuxPair(t, yamuxConfig(), yamuxConfig())
	out, in := yamuxOpen(t, host), yamuxAccept(t, agent)
	yamuxWrite(t, out, []byte("request"))
	_ = out.Close()

	yamuxRead(t, in, "request")
	yamuxReadEOF(t, in)
	yamuxWrite(t, in, []byte("answer"))
	_ = in.Close()
	yamuxRead(t, out, "answer")
	yamuxReadEOF(t, out)
	if _, err := out.Write([]byte{0}); !errors.Is(err, yamux.ErrStreamClosed) {
		t.Errorf("Write after Close: %v, want %v", err, yamux.ErrStreamClosed)
	}
}

// So a host that no longer wants output says so on the control stream, and
// reads on: a Close does not reach the agent's writer.
func TestYamuxCloseDoesNotStopThePeersWriter(t *testing.T) {
	host, agent := yamuxPair(t, yamuxConfig(), yamuxConfig())
	out, in := yamuxOpen(t, host), yamuxAccept(t, agent)
	_ = out.Close()
	yamuxSettle(t, host)

	if n := yamuxFill(t, in); n != yamuxWindow {
		t.Errorf("wrote %d bytes before blocking, want a window of %d", n, yamuxWindow)
	}
	if n := yamuxFill(t, in); n != 0 {
		t.Errorf("wrote %d bytes into a full window", n)
	}
	yamuxRead(t, out, string(make([]byte, yamuxWindow)))
	yamuxSettle(t, host) // the window updates have arrived
	if n := yamuxFill(t, in); n == 0 {
		t.Error("still blocked after the window has been read")
	}
}

// So a stream that ends early on one side is Discarded, not only closed.
func TestYamuxStreamStaysUntilBothSidesHaveClosed(t *testing.T) {
	host, agent := yamuxPair(t, yamuxConfig(), yamuxConfig())
	out, in := yamuxOpen(t, host), yamuxAccept(t, agent)
	want := func(when string, n int) {
		t.Helper()
		if h, a := host.NumStreams(), agent.NumStreams(); h != n || a != n {
			t.Errorf("%s: %d and %d streams, want %d", when, h, a, n)
		}
	}

	_ = out.Close()
	yamuxSettle(t, host)
	yamuxReadEOF(t, in)
	want("one side has closed and the other has read EOF", 1)
	_ = in.Close()
	yamuxSettle(t, agent)
	want("both have closed", 0)
}

// So a host learns that its stream has been accepted, which frees its backlog,
// only when the agent's accept loop has come to it.
func TestYamuxFirstFrameOfTheAccepterAcknowledges(t *testing.T) {
	for _, window := range []uint32{yamuxWindow, 1 << 20} {
		peer, conn := newYamuxPeer(t)
		config := yamuxConfig()
		config.MaxStreamWindowSize = window
		session := yamuxStart(t, yamux.Server, conn, config)
		peer.send(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: 1}, "")
		peer.settle(t) // nothing comes before Accept

		stream := yamuxAccept(t, session)
		peer.expect(t, yamuxFrame{
			Kind: yamuxWindowUpdate, Flags: yamuxACK, Stream: 1, Length: window - yamuxWindow,
		})
		yamuxWrite(t, stream, []byte("x"))
		peer.expect(t, yamuxFrame{Kind: yamuxData, Stream: 1, Length: 1})
	}
}

// So a stream that its opener closes at once (an empty stdin) occupies the
// opener's backlog until the accepter closes it too: no later than it needs to.
func TestYamuxStreamThatEndsBeforeAcceptIsNeverAcknowledged(t *testing.T) {
	peer, conn := newYamuxPeer(t)
	session := yamuxStart(t, yamux.Server, conn, yamuxConfig())
	peer.send(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: 1}, "")
	peer.send(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxFIN, Stream: 1}, "")
	peer.settle(t)

	stream := yamuxAccept(t, session)
	yamuxReadEOF(t, stream)
	yamuxWrite(t, stream, []byte("x"))
	_ = stream.Close()
	peer.expect(t, yamuxFrame{Kind: yamuxData, Stream: 1, Length: 1})
	peer.expect(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxFIN, Stream: 1})
}

// So the window is small in the guest and large on the host.
func TestYamuxUnreadStreamHoldsAWindow(t *testing.T) {
	for _, window := range []uint32{yamuxWindow, 1 << 20} {
		config := yamuxConfig()
		config.MaxStreamWindowSize = window
		host, agent := yamuxPair(t, yamuxConfig(), config)
		out, in := yamuxOpen(t, host), yamuxAccept(t, agent)
		yamuxSettle(t, agent) // its window has arrived

		if n := yamuxFill(t, out); n != int(window) {
			t.Errorf("wrote %d bytes to a stream that nobody reads, want %d", n, window)
		}
		yamuxSettle(t, host)
		yamuxRead(t, in, string(make([]byte, window)))
	}
}

// So what thousands of unread streams may take in a small guest is bounded by
// their number alone.
func TestYamuxWindowIsAtLeast256KiB(t *testing.T) {
	for window, valid := range map[uint32]bool{0: false, 256<<10 - 1: false, 256 << 10: true} {
		config := yamuxConfig()
		config.MaxStreamWindowSize = window
		if err := yamux.VerifyConfig(config); (err == nil) != valid {
			t.Errorf("a window of %d bytes: %v, want valid=%v", window, err, valid)
		}
	}
}

// So memory is reckoned at twice the window for each stream that has once been
// full: bytes.Buffer wants room for more before it learns that a frame is over.
func TestYamuxReceiveBufferIsTwiceTheWindowAndNeverShrinksByItself(t *testing.T) {
	host, agent := yamuxPair(t, yamuxConfig(), yamuxConfig())
	out, in := yamuxOpen(t, host), yamuxAccept(t, agent)
	for range 4 { // in mux's frames
		yamuxWrite(t, out, make([]byte, yamuxWindow/4))
	}
	yamuxSettle(t, host)
	yamuxRead(t, in, string(make([]byte, yamuxWindow)))
	if n := yamuxBuffer(t, in); n < 2*yamuxWindow {
		t.Errorf("an empty stream that was full has a buffer of %d bytes, want %d or more", n, 2*yamuxWindow)
	}

	in.Shrink()
	if n := yamuxBuffer(t, in); n != 0 {
		t.Errorf("a buffer of %d bytes after Shrink, want none", n)
	}
}

// yamuxBuffer returns the capacity of a stream's receive buffer.
func yamuxBuffer(t *testing.T, stream *yamux.Stream) int {
	t.Helper()
	field := reflect.ValueOf(stream).Elem().FieldByName("recvBuf")
	if field.Type() != reflect.TypeFor[*bytes.Buffer]() {
		t.Fatalf("the receive buffer is a %v now", field.Type())
	}
	if field.IsNil() {
		return 0
	}
	return field.Elem().FieldByName("buf").Cap()
}
