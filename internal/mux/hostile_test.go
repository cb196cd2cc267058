package mux_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
)

// hostileHost connects an agent's side to a peer that does what a test tells it to.
func hostileHost(t *testing.T) (*yamuxPeer, *mux.Session) {
	t.Helper()
	peer, conn := newYamuxPeer(t)
	agent := mux.Server(conn)
	t.Cleanup(func() { _ = agent.Close() })
	peer.send(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: 1}, "")
	peer.expect(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxACK, Stream: 1})
	return peer, agent
}

func hostileAgent(t *testing.T) (*yamuxPeer, *mux.Session, *mux.Stream) {
	t.Helper()
	peer, conn := newYamuxPeer(t)
	host, control, err := mux.Client(conn, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = host.Close() })
	peer.expect(t, yamuxFrame{Kind: yamuxGoAway})
	peer.expect(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: 1, Length: 1<<20 - yamuxWindow})
	return peer, host, control
}

func TestPeerThatBreaksTheRulesLosesTheConnection(t *testing.T) {
	for name, frames := range map[string][]yamuxFrame{
		"another version":              {{Version: 1}},
		"a frame of no kind":           {{Kind: 4}},
		"an even stream id":            {{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: 2}},
		"a stream that is open":        {{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: 1}},
		"more than the window":         {{Kind: yamuxData, Stream: 1, Length: yamuxWindow + 1}},
		"a window of more than 4 GiB":  {{Kind: yamuxWindowUpdate, Stream: 1, Length: 1<<32 - 1}},
		"data after the end of stream": {{Kind: yamuxData, Flags: yamuxFIN, Stream: 1}, {Kind: yamuxData, Stream: 1, Length: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			peer, agent := hostileHost(t)
			for _, f := range frames {
				peer.send(t, f, "")
			}
			peer.expectEOF(t)
			within(t, "the session's end", func() { <-agent.Done() })
			if err := agent.Err(); !errors.Is(err, mux.ErrProtocol) || !errors.Is(err, mux.ErrLost) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestFramesForUnknownStreamsAreSkipped(t *testing.T) {
	peer, _ := hostileHost(t)
	for _, f := range []yamuxFrame{
		{Kind: yamuxWindowUpdate, Stream: 7, Length: 5},
		{Kind: yamuxWindowUpdate, Flags: yamuxFIN, Stream: 7},
		{Kind: yamuxWindowUpdate, Flags: yamuxRST, Stream: 9},
	} {
		peer.send(t, f, "")
	}
	peer.send(t, yamuxFrame{Kind: yamuxData, Stream: 7, Length: 100_000}, strings.Repeat("x", 100_000))
	peer.settle(t)
}

func TestStreamsThatTheAgentOpensAreReset(t *testing.T) {
	peer, host, _ := hostileAgent(t)
	for _, id := range []uint32{2, 3, 4} {
		peer.send(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: id}, "")
		peer.expect(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxRST, Stream: id})
	}
	peer.settle(t)
	if n := host.NumStreams(); n != 1 {
		t.Errorf("%d streams", n)
	}
}

func TestResetIsNotEOFAndKeepsReceivedBytes(t *testing.T) {
	peer, _, control := hostileAgent(t)
	peer.send(t, yamuxFrame{Kind: yamuxData, Stream: 1, Length: 4}, "here")
	peer.send(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxRST, Stream: 1}, "")
	peer.settle(t)
	got, err := io.ReadAll(control)
	if string(got) != "here" || !errors.Is(err, mux.ErrReset) || !errors.Is(err, mux.ErrLost) {
		t.Errorf("ReadAll = %q, %v, want %q and an error that wraps %v and %v", got, err, "here", mux.ErrReset, mux.ErrLost)
	}
	if _, err := control.Write([]byte("x")); !errors.Is(err, mux.ErrReset) {
		t.Errorf("Write: %v", err)
	}
}

func TestStreamResetBeforeItsClaimIsForgotten(t *testing.T) {
	peer, agent := hostileHost(t)
	for id := uint32(3); id < 103; id += 2 {
		peer.send(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxSYN | yamuxRST, Stream: id}, "")
		peer.expect(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxACK, Stream: id})
	}
	peer.settle(t)
	if n := agent.NumStreams(); n != 1 {
		t.Errorf("%d streams", n)
	}
	for id := uint32(3); id < 103; id += 2 {
		if s, _ := agent.Take(id); s != nil {
			t.Errorf("stream %d waits to be claimed", id)
		}
	}
}

func TestGoAwayOfTheAgentEndsTheSession(t *testing.T) {
	peer, host, _ := hostileAgent(t)
	peer.send(t, yamuxFrame{Kind: yamuxGoAway}, "")
	within(t, "the session's end", func() { <-host.Done() })
	if err := host.Err(); !errors.Is(err, mux.ErrProtocol) {
		t.Errorf("error %v", err)
	}
}

func TestPeerThatAsksAndDoesNotReadIsCutOff(t *testing.T) {
	near, far := socketpair(t)
	agent := mux.Server(far)
	defer agent.Close()
	ping := strings.Repeat("\x00\x02\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07", 1000)
	for {
		if _, err := io.WriteString(near, ping); err != nil {
			break
		}
	}
	within(t, "the session's end", func() { <-agent.Done() })
}

func TestUnreadStreamTakesLittleMoreThanItsWindow(t *testing.T) {
	for _, size := range []uint32{1, 4095, 4097, 8193, 16385, 65535, yamuxWindow} {
		peer, agent := hostileHost(t)
		peer.send(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: 3}, "")
		peer.expect(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxACK, Stream: 3})
		stream, err := agent.Claim(3)
		if err != nil {
			t.Fatal(err)
		}
		body := strings.Repeat("x", int(size))
		sent := 0
		for ; sent+int(size) <= yamuxWindow && sent < 100_000*int(size); sent += int(size) {
			peer.send(t, yamuxFrame{Kind: yamuxData, Stream: 3, Length: size}, body)
		}
		peer.settle(t)
		if held := stream.Held(); held < sent || held > 4*yamuxWindow {
			t.Errorf("frames of %d bytes: %d bytes take %d", size, sent, held)
		}
		if n, err := stream.Read(make([]byte, yamuxWindow)); n != sent || err != nil {
			t.Errorf("frames of %d bytes: read %d of %d, %v", size, n, sent, err)
		}
		if held := stream.Held(); held != 0 {
			t.Errorf("frames of %d bytes: %d still taken", size, held)
		}
		_ = agent.Close()
	}
}

// A writer that waits for its turn, or for the peer's window, learns of the end.
func TestCloseEndsEveryWriteThatWaits(t *testing.T) {
	near, far := socketpair(t)
	agent := mux.Server(far)
	defer agent.Close()
	host, _, err := mux.Client(near, "")
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 8)
	for range cap(errs) {
		s, err := host.Open()
		if err != nil {
			t.Fatal(err)
		}
		go func() { // ends with the session
			for {
				if _, err := s.Write(make([]byte, 1<<20)); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	_ = host.Close()
	within(t, "the writes", func() {
		for range cap(errs) {
			if err := <-errs; !errors.Is(err, mux.ErrLost) {
				t.Error(err)
			}
		}
	})
}
