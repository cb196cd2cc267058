//go:build linux

package session_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A reader that does not keep up is told where the kept output begins.
func TestSlowReaderOfDetachedExecIsTold(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	out := h.open()
	m := detached(1, "head -c 8000000 /dev/zero; read line")
	m.Stdin, m.Stdout, m.Ring = h.open().ID(), out.ID(), 4096
	handle := h.begin(m).Handle
	e, ok := h.receive().(*wire.Error)
	if !ok || e.ID != 1 || e.Kind != wire.Limit || e.Behind == nil || e.Behind.Stderr || e.Behind.Want >= e.Behind.Oldest {
		t.Fatalf("the agent says %+v, want limit with the oldest offset", e)
	}
	if _, err := io.Copy(io.Discard, out); !errors.Is(err, mux.ErrReset) {
		t.Errorf("the stream of the slow reader ends with %v, want a reset", err)
	}
	agenttest.Eventually(t, "all output", func() bool { return h.list(9)[0].StdoutBytes == 8_000_000 })
	again := h.open()
	started := h.begin(&wire.Attach{Head: wire.Head{ID: 2}, Handle: handle, Stdout: again.ID(), From: wire.FromOldest})
	if started.StdoutOffset < e.Behind.Oldest {
		t.Errorf("the output begins at %d, want at least %d", started.StdoutOffset, e.Behind.Oldest)
	}
	h.send(&wire.Kill{Head: wire.Head{ID: 3}, Exec: 2, Force: true})
	if m, ok := h.receive().(*wire.Done); !ok || m.ID != 3 {
		t.Fatalf("answer to kill by an attach's id: %+v", m)
	}
	rest, err := io.ReadAll(again)
	if x := h.exited(2); err != nil || x.StdoutBytes != 8_000_000 || uint64(len(rest))+started.StdoutOffset != 8_000_000 {
		t.Errorf("%d bytes from %d, %v, exited %+v: want the rest of 8000000", len(rest), started.StdoutOffset, err, x)
	}
}

// A full ring holds the command up until its host acknowledges output.
func TestBlockingRingLosesNothing(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	out := h.open()
	m := detached(1, "seq 200000")
	m.Stdout, m.Ring, m.RingFull = out.ID(), 8192, wire.RingBlock
	h.begin(m)
	var got bytes.Buffer
	p := make([]byte, 4096)
	for {
		n, err := out.Read(p)
		got.Write(p[:n])
		h.send(&wire.Acked{Head: wire.Head{ID: 1}, StdoutOffset: uint64(got.Len())})
		if err != nil {
			break
		}
	}
	var want strings.Builder
	for i := range 200_000 {
		fmt.Fprintln(&want, i+1)
	}
	if got.String() != want.String() {
		t.Errorf("%d bytes of output differ from %d", got.Len(), want.Len())
	}
	if x := h.exited(1); x.StdoutBytes != uint64(want.Len()) || x.Cut {
		t.Errorf("exited: %+v", x)
	}
}

// A command that a full ring holds up is ended, and nobody need read its output.
func TestBlockedExecCanBeKilled(t *testing.T) {
	a := agenttest.Start(t)
	first := connect(t, a)
	m := detached(1, "yes")
	m.Ring, m.RingFull = 4096, wire.RingBlock
	started := first.begin(m)
	_ = first.mux.Close()
	h := connect(t, a)
	agenttest.Eventually(t, "a full ring", func() bool { return h.list(1)[0].StdoutBytes == 4096 })
	h.send(&wire.Kill{Head: wire.Head{ID: 2}, Handle: started.Handle})
	if m, ok := h.receive().(*wire.Done); !ok || m.ID != 2 {
		t.Fatalf("answer to kill: %+v", m)
	}
	h.begin(&wire.Attach{Head: wire.Head{ID: 3}, Handle: started.Handle})
	if x := h.exited(3); x.Reason != wire.ReasonKilled {
		t.Errorf("exited: %+v, want the reason killed", x)
	}
}

func TestMemoryOfRingsIsBounded(t *testing.T) {
	a := limited(t, session.Quotas{Keeping: job.Quotas{Rings: 64 << 10}})
	h := connect(t, a)
	flood := detached(1, "head -c 1000000 /dev/zero")
	h.begin(flood)
	if x := h.exited(1); x.StdoutBytes != 1_000_000 {
		t.Errorf("exited: %+v", x)
	}
	var last wire.Message
	begun := uint64(0)
	for id := uint64(2); id < 20; id++ { // each takes 8 KiB
		h.send(detached(id, "sleep 1000"))
		last = h.receive()
		if _, ok := last.(*wire.Started); !ok {
			wantError(t, last, id, wire.Limit, "no memory is left for the output of detached execs")
			break
		}
		begun++
	}
	if begun != 8 { // the output of the flood gives way
		t.Errorf("%d execs have started, want 8", begun)
	}
	h.exec(30, "true")
	h.exited(30)
}

func TestRecordsArePushedOutByLaterOnes(t *testing.T) {
	h := connect(t, limited(t, session.Quotas{Keeping: job.Quotas{Records: 2}}))
	var handles [][]byte
	for id := range uint64(3) {
		handles = append(handles, h.begin(detached(id+1, "echo x")).Handle)
		h.exited(id + 1)
	}
	h.send(&wire.Attach{Head: wire.Head{ID: 9}, Handle: handles[0]})
	wantError(t, h.receive(), 9, wire.NotFound, " is not kept")
	for i, handle := range handles[1:] {
		id := uint64(10 + i)
		h.begin(&wire.Attach{Head: wire.Head{ID: id}, Handle: handle})
		h.exited(id)
	}
}

// A command that is to end waits for hosts that have not read its output, and for no
// acknowledgement.
func TestKilledExecNeedsNoAcknowledgement(t *testing.T) {
	h := connect(t, agenttest.Start(t))
	out := h.open()
	m := detached(1, "yes")
	m.Stdout, m.Ring, m.RingFull = out.ID(), 4096, wire.RingBlock
	handle := h.begin(m).Handle
	if _, err := io.ReadFull(out, make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	drained := make(chan int64, 1)
	go func() {
		n, _ := io.Copy(io.Discard, out)
		drained <- n
	}()
	h.send(&wire.Kill{Head: wire.Head{ID: 2}, Handle: handle, Force: true})
	if m, ok := h.receive().(*wire.Done); !ok || m.ID != 2 {
		t.Fatalf("answer to kill: %+v", m)
	}
	if x := h.exited(1); x.Reason != wire.ReasonKilled || x.StdoutBytes != 4096+uint64(<-drained) {
		t.Errorf("exited: %+v, want killed, and every byte on the stream", x)
	}
}

// Hosts that bring input which the command does not read leave nothing behind.
func TestInputThatIsNotReadDoesNotPileUp(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	in := h.open()
	m := detached(1, "sleep 1000")
	m.Stdin = in.ID()
	handle := h.begin(m).Handle
	if _, err := in.Write(make([]byte, 200_000)); err != nil { // more than a pipe holds
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	for range 200 {
		x := connect(t, a)
		s := x.open()
		x.begin(&wire.Attach{Head: wire.Head{ID: 1}, Handle: handle, Stdin: s.ID()})
		if _, err := s.Write(make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		_ = x.mux.Close()
	}
	agenttest.Eventually(t, "the end of what fed it", func() bool { return runtime.NumGoroutine() < before+50 })
}

// Without a host a detached exec ends when its lease is over.
func TestLeaseEndsExecThatNobodyWatches(t *testing.T) {
	a := agenttest.Start(t)
	first := connect(t, a)
	m := detached(1, "sleep 1000")
	m.LeaseMS = 50
	handle := first.begin(m).Handle
	h := connect(t, a)
	h.begin(&wire.Attach{Head: wire.Head{ID: 1}, Handle: handle}) // two hosts now
	_ = first.mux.Close()
	agenttest.Eventually(t, "the end of the first connection", func() bool { return strings.Contains(a.Log.String(), "disconnected") })
	_ = h.mux.Close()
	h = connect(t, a)
	agenttest.Eventually(t, "the end of the lease", func() bool { return len(h.list(1)) == 0 })
	h.begin(&wire.Attach{Head: wire.Head{ID: 2}, Handle: handle})
	if x := h.exited(2); x.Reason != wire.ReasonKilled {
		t.Errorf("exited: %+v, want the reason killed", x)
	}
}
