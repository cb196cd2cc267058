package mux_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
)

// A recorder is a connection that keeps what each Write was given. While it is
// held, writes wait.
type recorder struct {
	net.Conn

	mu     sync.Mutex
	writes [][]byte
	hold   chan struct{} // nil: not held
	held   chan struct{} // gets a value when a write begins to wait
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	r.writes = append(r.writes, append([]byte(nil), p...))
	hold := r.hold
	r.mu.Unlock()
	if hold != nil {
		select {
		case r.held <- struct{}{}:
		default:
		}
		<-hold
	}
	return r.Conn.Write(p)
}

// reset forgets what was written.
func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writes = nil
}

func (r *recorder) stop() (release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	hold := make(chan struct{})
	r.hold, r.held = hold, make(chan struct{}, 1)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.hold = nil
		close(hold)
	}
}

// frames returns how many whole frames each write had.
func (r *recorder) frames(t *testing.T) (counts []int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.writes {
		n := 0
		for ; len(w) >= 12; n++ {
			body := 0
			if w[1] == yamuxData {
				body = int(binary.BigEndian.Uint32(w[8:]))
			}
			if body > mux.MaxFrame {
				t.Errorf("a frame of %d bytes", body)
			}
			if len(w) < 12+body {
				t.Fatalf("a write ends %d bytes before its frame does", 12+body-len(w))
			}
			w = w[12+body:]
		}
		if len(w) != 0 {
			t.Fatalf("a write ends with %d bytes of a header", len(w))
		}
		counts = append(counts, n)
	}
	return counts
}

func recorded(t *testing.T) (*recorder, *pair) {
	t.Helper()
	near, far := socketpair(t)
	r := &recorder{Conn: far}
	return r, connect(t, near, r)
}

func TestFramesOfALongWriteFillPacketsOfVsock(t *testing.T) {
	const packet = 64 << 10 // VIRTIO_VSOCK_MAX_PKT_BUF_SIZE
	r, p := recorded(t)
	host, agent := p.stream(t)
	if _, err := agent.Write([]byte("x")); err != nil { // what opens a stream goes with this
		t.Fatal(err)
	}
	if _, err := host.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	r.reset()
	long := agent.SendWindow() // what is longer waits for the peer, and may go on with less than a packet
	if long < 3*packet {
		t.Fatalf("a window of %d bytes has not three packets", long)
	}
	if n, err := agent.Write(make([]byte, long)); int64(n) != long || err != nil {
		t.Fatal(n, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, w := range r.writes[:len(r.writes)-1] {
		if len(w) != packet {
			t.Errorf("write %d of %d has %d bytes", i+1, len(r.writes), len(w))
		}
	}
}

func TestFrameIsOneWrite(t *testing.T) {
	r, p := recorded(t)
	host, agent := p.stream(t)
	if _, err := agent.Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	if _, err := host.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	r.reset()
	if _, err := agent.Write([]byte("a frame")); err != nil {
		t.Fatal(err)
	}
	if _, err := host.Read(make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	if counts := r.frames(t); len(counts) != 1 || counts[0] != 1 {
		t.Errorf("frames in each write: %v, want one in one", counts)
	}
}

func TestFramesThatQueueUpGoOutInOneWrite(t *testing.T) {
	r, p := recorded(t)
	const streams = 10
	var agents []*mux.Stream
	for range streams {
		host, agent := p.stream(t)
		if _, err := agent.Write([]byte("first")); err != nil {
			t.Fatal(err)
		}
		if _, err := host.Read(make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		agents = append(agents, agent)
	}
	r.reset()
	release := r.stop()
	first := make(chan error)
	go func() {
		_, err := agents[0].Write([]byte("a frame"))
		first <- err
	}()
	<-r.held
	for _, agent := range agents[1:] {
		if _, err := agent.Write([]byte("a frame")); err != nil { // returns while the connection is stuck
			t.Fatal(err)
		}
	}
	release()
	if err := <-first; err != nil {
		t.Error(err)
	}
	_ = p.agent.Close() // flushes
	counts := r.frames(t)
	if len(counts) < 2 || counts[0] != 1 || counts[1] != streams-1 {
		t.Errorf("frames in each write: %v, want 1 and %d", counts, streams-1)
	}
}

func TestEndsOfStreamsGoOutWithWhatFollows(t *testing.T) {
	r, p := recorded(t)
	_, agent := p.stream(t)
	_, other := p.stream(t)
	host, exit := p.stream(t)
	if _, err := exit.Write([]byte("started")); err != nil {
		t.Fatal(err)
	}
	if _, err := host.Read(make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	r.reset()
	_, _ = agent.Close(), other.Close()
	if _, err := exit.Write([]byte("exited")); err != nil {
		t.Fatal(err)
	}
	_ = p.agent.Close() // flushes
	// A machine that is busy for longer than the ends wait may part them.
	if counts := r.frames(t); len(counts) > 2 {
		t.Errorf("frames in each write: %v, want three in one", counts)
	}
}

func TestWriteSoonGoesOutWithTheNextWrite(t *testing.T) {
	r, p := recorded(t)
	host, agent := p.stream(t)
	if _, err := agent.Write([]byte("first")); err != nil {
		t.Fatal(err)
	}
	if _, err := host.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	r.reset()
	for range 10 {
		if _, err := agent.WriteSoon([]byte("started")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := agent.Write([]byte("exited")); err != nil {
		t.Fatal(err)
	}
	want := strings.Repeat("started", 10) + "exited"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(host, got); err != nil || string(got) != want {
		t.Errorf("read %q, %v, want %q", got, err, want)
	}
	// A machine that is busy for longer than they wait may part them.
	if counts := r.frames(t); len(counts) > 2 {
		t.Errorf("frames in each write: %v, want eleven in one", counts)
	}
}

func TestWriteSoonGoesOutByItself(t *testing.T) {
	host, agent := newPair(t).stream(t)
	if _, err := agent.WriteSoon([]byte("started")); err != nil {
		t.Fatal(err)
	}
	within(t, "the bytes", func() {
		if _, err := io.ReadFull(host, make([]byte, 7)); err != nil {
			t.Error(err)
		}
	})
}

func TestEndOfStreamGoesOutByItself(t *testing.T) {
	host, agent := newPair(t).stream(t)
	_ = agent.Close()
	within(t, "the end", func() {
		if _, err := host.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("read: %v, want io.EOF", err)
		}
	})
}

func TestWritesAreWholeFramesInOrder(t *testing.T) {
	r, p := recorded(t)
	var all sync.WaitGroup
	for seed := range uint64(20) {
		host, agent := p.stream(t)
		all.Go(func() { carry(t, seed, host, agent) })
	}
	within(t, "all streams", all.Wait)
	_ = p.agent.Close()
	if counts := r.frames(t); len(counts) == 0 {
		t.Error("nothing was written")
	}
}
