package mux_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
)

// window is what a host may send on a stream that nobody reads.
const window = yamuxWindow

// yamuxSend sends a frame from a peer that does not use yamux's implementation.
func yamuxSend(w io.Writer, f yamuxFrame, body []byte) error {
	frame, err := binary.Append(nil, binary.BigEndian, f)
	if err != nil {
		return err
	}
	_, err = w.Write(append(frame, body...))
	return err
}

// withQuota makes a session within a quota.
func withQuota(tb testing.TB, q *mux.Quota) *pair {
	tb.Helper()
	near, far := socketpair(tb)
	return connectBy(tb, near, far, q.Server)
}

// fill opens a stream and fills its window.
func (p *pair) fill(tb testing.TB) (host, agent *mux.Stream) {
	tb.Helper()
	host, agent = p.stream(tb)
	if _, err := host.Write(make([]byte, window)); err != nil {
		tb.Fatal(err)
	}
	return host, agent
}

// overrun returns a channel that is closed when s loses its input.
func overrun(s *mux.Stream) <-chan struct{} {
	lost := make(chan struct{})
	s.OnOverrun(func() { close(lost) })
	return lost
}

// alive checks that bytes go through p's control stream, behind everything else.
func (p *pair) alive(t *testing.T) {
	t.Helper()
	control, err := p.agent.Control(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	within(t, "a control message", func() {
		if _, err := p.control.Write([]byte("ping")); err != nil {
			t.Error(err)
		}
		got := make([]byte, 4)
		if _, err := io.ReadFull(control, got); err != nil || string(got) != "ping" {
			t.Errorf("the control stream reads %q, %v, want %q", got, err, "ping")
		}
	})
}

func TestStreamsBeyondTheQuotaAreRefused(t *testing.T) {
	p := withQuota(t, mux.NewQuota(mux.QuotaConfig{Streams: 3}))
	host, agent := p.stream(t)
	_, _ = p.stream(t)
	one, err := p.host.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.agent.Claim(one.ID()); !errors.Is(err, mux.ErrTooManyStreams) {
		t.Errorf("the fourth: %v", err)
	}
	within(t, "the end of the refused stream", func() {
		if n, err := one.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
	host.Discard()
	_, _ = agent.Close(), one.Close()
	if _, err := io.ReadAll(agent); err != nil {
		t.Fatal(err)
	}
	p.alive(t)
	_, _ = p.stream(t) // there is room again
}

func TestStreamsOfAllSessionsTogetherAreLimited(t *testing.T) {
	q := mux.NewQuota(mux.QuotaConfig{AllStreams: 4})
	p, other := withQuota(t, q), withQuota(t, q)
	_, _ = p.stream(t)
	_, _ = other.stream(t)
	one, err := other.host.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.agent.Claim(one.ID()); !errors.Is(err, mux.ErrTooManyStreams) {
		t.Errorf("the third besides two control streams: %v", err)
	}
	_ = p.host.Close()
	<-p.agent.Done()
	within(t, "room", func() {
		for {
			if s, err := other.host.Open(); err != nil {
				t.Error(err)
				return
			} else if _, err := other.agent.Claim(s.ID()); err == nil {
				return
			}
		}
	})
}

func TestFloodOfStreamsEndsTheConnection(t *testing.T) {
	p := withQuota(t, mux.NewQuota(mux.QuotaConfig{Streams: 10}))
	within(t, "opening streams", func() {
		for range 4096 {
			if _, err := p.host.Open(); err != nil {
				wantLost(t, "Open", err)
				return
			}
		}
	})
	within(t, "the end", func() { <-p.agent.Done() })
	if err := p.agent.Err(); !errors.Is(err, mux.ErrTooManyStreams) {
		t.Error(err)
	}
}

func TestUnreadInputIsLostIfMemoryIsShort(t *testing.T) {
	p := withQuota(t, mux.NewQuota(mux.QuotaConfig{Input: 900 << 10})) // three windows, and some
	_, first := p.fill(t)
	_, second := p.fill(t)
	_, third := p.fill(t)
	small, quiet := p.stream(t)
	if _, err := io.WriteString(small, "little"); err != nil {
		t.Fatal(err)
	}
	ends := []<-chan struct{}{overrun(first), overrun(second), overrun(third)}
	host, last := p.fill(t) // does not fit
	p.alive(t)
	lost := 0
	for i, s := range []*mux.Stream{first, second, third} {
		select {
		case <-ends[i]:
			lost++
			if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
				t.Errorf("a stream that has lost input reads %v", err)
			}
		default:
		}
	}
	if lost != 1 {
		t.Errorf("%d streams have lost input, want 1", lost)
	}
	got := make([]byte, 6)
	if _, err := io.ReadFull(quiet, got); err != nil || string(got) != "little" {
		t.Errorf("a stream that holds little: %q, %v", got, err)
	}
	_ = host.Close()
	if got, err := io.ReadAll(last); err != nil || len(got) != window {
		t.Errorf("the stream that there was no room for: %d bytes, %v", len(got), err)
	}
}

func TestInputThatIsReadIsNeverLost(t *testing.T) {
	p := withQuota(t, mux.NewQuota(mux.QuotaConfig{Input: 1 << 20}))
	const streams, size = 32, 1 << 20
	sent := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	results := make(chan error, streams)
	for range streams {
		host, agent := p.stream(t)
		agent.OnOverrun(func() { t.Error("a stream that is being read has lost input") })
		go func() {
			_, _ = host.Write(sent)
			_ = host.Close()
		}()
		go func() {
			got, err := io.ReadAll(agent)
			if err == nil && !bytes.Equal(got, sent) {
				err = errors.New("other bytes have come")
			}
			results <- err
		}()
	}
	within(t, "all of it", func() {
		for range streams {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestHoarderAmongSessionsIsTheOneThatLoses(t *testing.T) {
	q := mux.NewQuota(mux.QuotaConfig{AllInput: 1160 << 10}) // four windows, and some
	hoarder, p := withQuota(t, q), withQuota(t, q)
	for range 3 {
		hoarder.fill(t)
	}
	_, c := p.fill(t)
	c.OnOverrun(func() { t.Error("the session that holds less has lost input") })
	host, last := p.fill(t)
	last.OnOverrun(func() { t.Error("the latest has lost input") })
	p.alive(t)
	_ = host.Close()
	if got, err := io.ReadAll(last); err != nil || len(got) != window {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	hoarder.alive(t)
}

// A host that does not read cannot keep the agent from ending its streams.
func TestInputOfAStuckHostIsDropped(t *testing.T) {
	near, far := socketpair(t)
	agent := mux.NewQuota(mux.QuotaConfig{Input: 1 << 20}).Server(far)
	t.Cleanup(func() { _ = agent.Close() })
	send := func(frame yamuxFrame, body int) {
		if err := yamuxSend(near, frame, make([]byte, body)); err != nil {
			t.Error(err)
		}
	}
	send(yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: 1}, 0)
	send(yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: 3}, 0)
	output, err := agent.Claim(3)
	if err != nil {
		t.Fatal(err)
	}
	go func() { // fills the socket; ends with the connection
		for {
			if _, err := output.Write(make([]byte, mux.MaxFrame)); err != nil {
				return
			}
		}
	}()
	for id := uint32(5); id < 25; id += 2 {
		send(yamuxFrame{Kind: yamuxWindowUpdate, Flags: yamuxSYN, Stream: id}, 0)
		send(yamuxFrame{Kind: yamuxData, Stream: id, Length: window}, window)
	}
	send(yamuxFrame{Kind: yamuxData, Stream: 1, Length: 4}, 4)
	control, err := agent.Control(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	within(t, "a control message", func() {
		if _, err := io.ReadFull(control, make([]byte, 4)); err != nil {
			t.Error(err)
		}
	})
}

func TestReservedMemoryIsInput(t *testing.T) {
	p := withQuota(t, mux.NewQuota(mux.QuotaConfig{Input: 1 << 20}))
	if err := p.agent.Reserve(1 << 20); err != nil {
		t.Fatal(err)
	}
	if err := p.agent.Reserve(1); !errors.Is(err, mux.ErrInput) {
		t.Errorf("beyond the limit: %v", err)
	}
	if err := p.agent.Reserve(0); err != nil {
		t.Errorf("nothing: %v", err)
	}
	p.agent.Release(1 << 20)
	if err := p.agent.Reserve(1); err != nil {
		t.Error(err)
	}
	p.agent.Release(1)
}

// A guest can make its host hold no more than the windows of the streams that the host
// has opened.
func TestPeerCannotExceedTheHostsWindow(t *testing.T) {
	near, far := socketpair(t)
	host, control, err := mux.Client(near, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = host.Close() })
	go func() { _, _ = io.Copy(io.Discard, far) }() // ends with the connection
	const hostWindow = 1 << 20
	data := yamuxFrame{Kind: yamuxData, Flags: yamuxACK, Stream: control.ID(), Length: hostWindow}
	if err := yamuxSend(far, data, make([]byte, hostWindow)); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Read(nil); err != nil {
		t.Fatalf("a full window: %v", err)
	}
	data.Flags, data.Length = 0, 1
	if err := yamuxSend(far, data, []byte{0}); err != nil {
		t.Fatal(err)
	}
	within(t, "the end", func() { <-host.Done() })
	wantLost(t, "Err", host.Err())
}
