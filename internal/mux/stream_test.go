package mux_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
)

func TestReadReturnsAllBytesBeforeEOF(t *testing.T) {
	p := newPair(t)
	host, agent := p.stream(t)
	sent := make([]byte, 200<<10) // within the window: nobody reads yet
	_, _ = rand.NewChaCha8([32]byte{}).Read(sent)
	if _, err := agent.Write(sent); err != nil {
		t.Fatal(err)
	}
	_ = agent.Close()
	if _, err := host.Write([]byte("the other direction goes on")); err != nil {
		t.Error(err)
	}
	_ = host.Close()
	got, err := io.ReadAll(host)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d, %v", len(got), len(sent), err)
	}
	if got, err := io.ReadAll(agent); err != nil || string(got) != "the other direction goes on" {
		t.Errorf("the agent reads %q, %v, want the other direction's text", got, err)
	}
}

func TestWriteAfterCloseSaysClosed(t *testing.T) {
	host, _ := newPair(t).stream(t)
	if err := host.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := host.Write([]byte("x")); !errors.Is(err, os.ErrClosed) || errors.Is(err, mux.ErrLost) {
		t.Error(err)
	}
}

func TestWriteToHandsOverAllThatComes(t *testing.T) {
	p := newPair(t)
	host, agent := p.stream(t)
	sent := make([]byte, 5<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(sent)
	go func() { // ends with its writes
		_, _ = agent.Write(sent)
		_ = agent.Close()
	}()
	var got bytes.Buffer
	if n, err := host.WriteTo(&got); n != int64(len(sent)) || err != nil || !bytes.Equal(got.Bytes(), sent) {
		t.Errorf("%d bytes of %d, %v", n, len(sent), err)
	}
}

func TestWriteToEndsWithItsWritersError(t *testing.T) {
	p := newPair(t)
	host, agent := p.stream(t)
	if _, err := agent.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if _, err := host.WriteTo(failing{broken}); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

// The peer's closing the connection is io.EOF to the session, and no end of a stream.
func TestWriteToOfALostConnectionIsAnError(t *testing.T) {
	p := newPair(t)
	host, agent := p.stream(t)
	if _, err := host.Write([]byte("half")); err != nil {
		t.Fatal(err)
	}
	_ = p.host.Close()
	var got bytes.Buffer
	_, err := agent.WriteTo(&got)
	wantLost(t, "WriteTo", err)
	if got.String() != "half" {
		t.Errorf("WriteTo writes %q, want %q", got.String(), "half")
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestReadDeadlineEndsAReadAndTheNextGoesOn(t *testing.T) {
	p := newPair(t)
	host, agent := p.stream(t)
	host.SetReadDeadline(time.Unix(1, 0))
	if _, err := host.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	host.SetReadDeadline(time.Time{})
	if _, err := agent.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if n, err := host.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("Read = %d, %v, want 1", n, err)
	}
}

func TestStalledStreamsDelayNoOther(t *testing.T) {
	p := newPair(t)
	var writers sync.WaitGroup
	for range 64 {
		_, agent := p.stream(t)
		writers.Go(func() { _, _ = agent.Write(make([]byte, 4<<20)) }) // until the session ends: nobody reads
	}
	defer writers.Wait()
	defer p.host.Close()
	host, agent := p.stream(t)
	within(t, "a hundred round trips", func() {
		for range 100 {
			if _, err := host.Write([]byte("?")); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadFull(agent, make([]byte, 1)); err != nil {
				t.Error(err)
			}
			if _, err := agent.Write([]byte("!")); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadFull(host, make([]byte, 1)); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestDiscardEndsABlockedRead(t *testing.T) {
	p := newPair(t)
	host, agent := p.stream(t)
	ended := make(chan error, 1)
	go func() {
		_, err := host.Read(make([]byte, 1))
		ended <- err
	}()
	host.Discard()
	host.Discard()
	within(t, "the Read", func() {
		if err := <-ended; !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	if _, err := host.Read(nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Discard: %v", err)
	}
	within(t, "the peer's Write of more than a window", func() {
		if _, err := agent.Write(make([]byte, 8<<20)); err != nil {
			t.Error(err)
		}
	})
	if got, err := io.ReadAll(agent); len(got) != 0 || err != nil {
		t.Errorf("the peer read %q, %v", got, err)
	}
	_ = agent.Close()
}

// Streams that end in all sorts of ways, many at a time, lose none of what the
// others carry.
func TestDiscardLosesNothingOfOtherStreams(t *testing.T) {
	p := newPair(t)
	var all sync.WaitGroup
	for seed := range uint64(200) {
		host, agent := p.stream(t)
		all.Go(func() { carry(t, seed, host, agent) })
	}
	within(t, "all streams", all.Wait)
}

// carry writes a random amount in random pieces to one end, and reads or
// discards it at the other.
func carry(t *testing.T, seed uint64, host, agent *mux.Stream) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	size := r.IntN(1 << 20)
	discardAfter := size + 1
	if seed%3 == 0 {
		discardAfter = r.IntN(size + 1)
	}
	sent := sha256.New()
	written := make(chan struct{})
	go func() { // ends with its writes: what is discarded does not hold it up
		defer close(written)
		source := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{byte(seed)}), int64(size)), sent)
		piece := make([]byte, 1+r.IntN(100_000))
		for {
			n, err := source.Read(piece)
			if _, e := agent.Write(piece[:n]); e != nil || err != nil {
				_ = agent.Close()
				return
			}
		}
	}()
	received := sha256.New()
	n, err := io.CopyN(received, host, int64(discardAfter))
	if discardAfter <= size {
		host.Discard()
		if err != nil {
			t.Errorf("stream %d: %v", seed, err)
		}
		return
	}
	<-written
	if n != int64(size) || !errors.Is(err, io.EOF) {
		t.Errorf("stream %d: %d bytes of %d, %v", seed, n, size, err)
	} else if !bytes.Equal(received.Sum(nil), sent.Sum(nil)) {
		t.Errorf("stream %d: other bytes than were sent", seed)
	}
	_ = host.Close()
}

func TestClaimWaitsForTheStream(t *testing.T) {
	p := newPair(t)
	claimed := make(chan error, 1)
	go func() {
		_, err := p.agent.Claim(p.control.ID() + 2)
		claimed <- err
	}()
	s, err := p.host.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := <-claimed; err != nil || s.ID() != p.control.ID()+2 {
		t.Errorf("stream %d: %v", s.ID(), err)
	}
}

func TestClaimOfAnUnknownStreamTimesOut(t *testing.T) {
	synctest.Test(t, claimOfAnUnknownStreamTimesOut)
}

func claimOfAnUnknownStreamTimesOut(t *testing.T) {
	p := connectPipe(t)
	host, _ := p.stream(t)
	var claims sync.WaitGroup
	for name, id := range map[string]uint32{"claimed already": host.ID(), "never opened": 4711, "the control stream": p.control.ID()} {
		claims.Go(func() {
			if _, err := p.agent.Claim(id); !errors.Is(err, mux.ErrNoStream) {
				t.Errorf("Claim of a stream that is %s = %v, want %v", name, err, mux.ErrNoStream)
			}
		})
	}
	claims.Wait()
}

func TestStreamThatNobodyClaimsIsEnded(t *testing.T) { synctest.Test(t, streamThatNobodyClaimsIsEnded) }

func streamThatNobodyClaimsIsEnded(t *testing.T) {
	p := connectPipe(t)
	control, err := p.agent.Control(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = control.Read(make([]byte, 1)) }() // ends with the session
	host, err := p.host.Open()
	if err != nil {
		t.Fatal(err)
	}
	within(t, "the stream's end", func() {
		if _, err := host.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if _, err := host.Write(make([]byte, 4<<20)); err != nil { // and what is still sent is thrown away
			t.Error(err)
		}
	})
}

// In a guest that is too busy to read requests, the one that names a stream may
// have come and wait to be read.
func TestStreamLivesWhileRequestsAreUnread(t *testing.T) {
	synctest.Test(t, streamLivesWhileRequestsAreUnread)
}

func streamLivesWhileRequestsAreUnread(t *testing.T) {
	p := connectPipe(t)
	control, err := p.agent.Control(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	host, err := p.host.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.control.Write([]byte("unread")); err != nil {
		t.Fatal(err)
	}
	<-time.After(mux.ClaimTimeout + mux.ClaimTimeout/2)
	if s, _ := p.agent.Take(host.ID()); s == nil {
		t.Error("it has expired")
	}
	_, _ = io.ReadFull(control, make([]byte, 6))
}
