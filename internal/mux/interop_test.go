package mux_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/hashicorp/yamux"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
)

// The other implementation, as either side, carries what this one does.
func TestYamuxOfOthersIsAHost(t *testing.T) {
	near, far := socketpair(t)
	agent := mux.Server(far)
	t.Cleanup(func() { _ = agent.Close() })
	host := yamuxStart(t, yamux.Client, near, yamuxConfig())
	control, err := host.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := agent.Control(t.Context()); err != nil || got.ID() != control.StreamID() {
		t.Fatalf("control stream: %v", err)
	}
	converse(t, func() (end, end) {
		ours, err := host.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := agent.Claim(ours.StreamID())
		if err != nil {
			t.Fatal(err)
		}
		return ours, theirs
	})
	if _, err := host.Ping(); err != nil {
		t.Errorf("ping: %v", err)
	}
	_ = host.Close()
	<-agent.Done()
	if n := agent.NumStreams(); n != 0 {
		t.Errorf("%d streams", n)
	}
}

func TestYamuxOfOthersIsAnAgent(t *testing.T) {
	near, far := socketpair(t)
	agent := yamuxStart(t, yamux.Server, far, yamuxConfig())
	host, control, err := mux.Client(near, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = host.Close() })
	first, err := agent.AcceptStream()
	if err != nil || first.StreamID() != control.ID() {
		t.Fatalf("control stream: %v", err)
	}
	converse(t, func() (end, end) {
		ours, err := host.Open()
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := agent.AcceptStream()
		if err != nil || theirs.StreamID() != ours.ID() {
			t.Fatalf("accept: %v", err)
		}
		return theirs, ours
	})
	if _, err := agent.OpenStream(); !errors.Is(err, yamux.ErrRemoteGoAway) {
		t.Errorf("the agent opens a stream: %v", err)
	}
	// Both ends of each have ended, and so both sides have forgotten them.
	if _, err := agent.Ping(); err != nil {
		t.Error(err)
	}
	if n := host.NumStreams(); n != 1 {
		t.Errorf("%d streams, want the control stream", n)
	}
}

// An end is one of a stream.
type end interface {
	io.ReadWriteCloser
}

// converse carries random bytes both ways over many streams at once, each
// direction ended by itself.
func converse(t *testing.T, open func() (end, end)) {
	t.Helper()
	var all sync.WaitGroup
	for seed := range byte(20) {
		a, b := open()
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		for i, direction := range [][2]end{{a, b}, {b, a}} {
			size, piece := r.IntN(3<<20), 1+r.IntN(200_000)
			all.Go(func() {
				sent := sha256.New()
				source := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{seed, byte(i)}), int64(size)), sent)
				received := sha256.New()
				done := make(chan error, 1)
				go func() {
					_, err := io.Copy(received, direction[1])
					done <- err
				}()
				_, err := io.CopyBuffer(struct{ io.Writer }{direction[0]}, source, make([]byte, piece))
				err = errors.Join(err, direction[0].Close(), <-done)
				if err != nil || !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
					t.Errorf("stream %d, direction %d, %d bytes: %v", seed, i, size, err)
				}
			})
		}
	}
	within(t, "all streams", all.Wait)
}
