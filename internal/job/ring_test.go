package job_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/cocoonstack/cocoon-agent/internal/job"
)

// byteAt is the byte of a test's output at an offset. Its period is odd.
func byteAt(offset uint64) byte { return byte(offset%251) ^ byte(offset>>8) }

func outputFrom(offset uint64, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byteAt(offset + uint64(i))
	}
	return p
}

// wantOutput fails the test if p is not the output at an offset.
func wantOutput(t *testing.T, offset uint64, p []byte) {
	t.Helper()
	for i, b := range p {
		if want := byteAt(offset + uint64(i)); b != want {
			t.Fatalf("byte %d of the output = %#x, want %#x", offset+uint64(i), b, want)
		}
	}
}

func TestRingReaderGetsExactBytesOrIsBehind(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 25))
		ring := job.NewRing(4<<10<<r.IntN(4), false)
		size := uint64(4 << 10)
		for written := uint64(0); written < 200_000; {
			n := 1 + r.IntN(20_000)
			_, _ = ring.Write(outputFrom(written, n))
			written += uint64(n)
			size = max(size, uint64(ring.Used()))
			at := r.Uint64N(written + 10)
			reader, err := ring.Reader(at)
			behind, isBehind := errors.AsType[*job.BehindError](err)
			switch oldest := written - min(written, size); {
			case err == nil && (at > written || at < oldest):
				t.Fatalf("Reader(%d) = nil with %d to %d kept", at, oldest, written)
			case err != nil && (!isBehind || behind.Want != at || behind.Newest != written || at >= behind.Oldest && at <= written):
				t.Fatalf("Reader(%d) = %v, want a BehindError with the offsets", at, err)
			case err != nil || at == written:
				continue
			}
			p := make([]byte, 1+r.IntN(40_000))
			got, _, err := reader.Next(p)
			if err != nil || got == 0 {
				t.Fatalf("Next at %d of %d = %d, %v", at, written, got, err)
			}
			wantOutput(t, at, p[:got])
		}
	}
}

func TestRingGrowsByDoublingUpToItsLimit(t *testing.T) {
	ring := job.NewRing(64<<10, false)
	for _, step := range []struct{ write, want int }{
		{0, 4 << 10}, {1, 4 << 10}, {4096, 8 << 10}, {9000, 16 << 10}, {200_000, 64 << 10}, {200_000, 64 << 10},
	} {
		_, _ = ring.Write(make([]byte, step.write))
		if got := ring.Used(); got != step.want {
			t.Errorf("after a write of %d the ring takes %d bytes, want %d", step.write, got, step.want)
		}
	}
}

func TestRingOfSilentOutputGivesItsMemoryBack(t *testing.T) {
	ring := job.NewRing(64<<10, false)
	_ = ring.Close()
	if got := ring.Used(); got != 0 {
		t.Errorf("an ended ring without output takes %d bytes, want 0", got)
	}
}

// A ring that blocks loses nothing: its writer waits until somebody acknowledges.
func TestBlockingRingWaitsForAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const all = 300_000
		ring := job.NewRing(16<<10, true)
		reader, err := ring.Reader(0)
		if err != nil {
			t.Fatal(err)
		}
		var writing sync.WaitGroup
		writing.Go(func() {
			_, _ = ring.Write(outputFrom(0, all))
			_ = ring.Close()
		})
		p, at, acked := make([]byte, 5000), uint64(0), uint64(0)
		for done := false; !done; {
			synctest.Wait() // the writer waits
			if used := ring.Used(); used > 16<<10 {
				t.Fatalf("the ring takes %d bytes, want at most 16 KiB", used)
			}
			var n int
			if n, done, err = reader.Next(p); err != nil {
				t.Fatal(err)
			}
			wantOutput(t, at, p[:n])
			at += uint64(n)
			if again, err := ring.Reader(acked); err != nil { // as after a lost connection
				t.Fatalf("offset %d is not kept, though nobody has acknowledged more: %v", acked, err)
			} else {
				again.Leave()
			}
			if at-acked > 8000 {
				acked = at
				ring.Ack(acked)
			}
		}
		writing.Wait()
		if at != all {
			t.Errorf("the reader got %d bytes, want %d", at, all)
		}
	})
}

func TestReaderThatLeavesEndsNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, err := job.NewRing(4096, false).Reader(0)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			_, _, err := reader.Next(make([]byte, 1))
			ended <- err
		}()
		synctest.Wait()
		reader.Leave()
		if err := <-ended; err == nil {
			t.Error("Next after Leave = nil, want an error")
		}
	})
}

func TestBehindErrorNamesOffsets(t *testing.T) {
	for _, c := range []struct {
		err  job.BehindError
		want string
	}{
		{job.BehindError{Want: 1, Oldest: 5, Newest: 9}, "stdout is not kept from byte 1, only from 5 to 9"},
		{job.BehindError{Want: 10, Newest: 9, Stderr: true}, "stderr has no byte 10 yet: it ends at 9"},
	} {
		if got := fmt.Sprint(&c.err); got != c.want {
			t.Errorf("Error() = %q, want %q", got, c.want)
		}
	}
}
