//go:build linux

package session_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A wanton is a host that asks for anything about detached execs, in any order, and reads
// what it likes.
type wanton struct {
	*host
	random  *rand.Rand
	handles *handles // that all of them have heard of
	agentID []byte
	last    uint64
	streams []*mux.Stream
	reading sync.WaitGroup
}

// handles are those that hosts have heard of. They are safe for concurrent use.
type handles struct {
	mu  sync.Mutex
	all [][]byte
}

func (h *handles) add(handle []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, handle)
}

func (h *handles) any(r *rand.Rand) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.all) == 0 || r.IntN(20) == 0 {
		return make([]byte, 16)
	}
	return h.all[r.IntN(len(h.all))]
}

// stream opens a stream, or names one that is not there.
func (w *wanton) stream() uint32 {
	switch w.random.IntN(4) {
	case 0:
		return 0
	default:
		s := w.open()
		w.streams = append(w.streams, s)
		if w.random.IntN(3) > 0 {
			w.reading.Go(func() { _, _ = io.Copy(io.Discard, s) })
		}
		return s.ID()
	}
}

func (w *wanton) offset() uint64 {
	return []uint64{0, 0, 1, 4096, 100_000, 1<<64 - 1}[w.random.IntN(6)]
}

func (w *wanton) step() {
	r := w.random
	w.last++
	head := wire.Head{ID: w.last}
	known := 1 + r.Uint64N(w.last)
	switch r.IntN(10) {
	case 0, 1:
		m := &wire.Exec{
			Head: head, Argv: []string{"sh", "-c", []string{"seq 20000", "cat", "sleep 1000", "yes | head -c 300000; sleep 1000", "exit 3"}[r.IntN(5)]},
			Stdin: w.stream(), Stdout: w.stream(), Stderr: w.stream(),
			Keeping: wire.Keeping{Detach: true, Ring: uint32(r.IntN(100_000))},
		}
		if r.IntN(2) == 0 {
			m.RingFull = wire.RingBlock
		}
		if r.IntN(3) == 0 {
			m.Key, m.AgentID = fmt.Append(nil, "key", r.IntN(3)), w.agentID
		}
		if r.IntN(5) == 0 {
			m.TTY, m.Stderr = &wire.TTY{}, 0
		}
		w.send(m)
	case 2, 3, 4:
		w.send(&wire.Attach{
			Head: head, Handle: w.handles.any(r), Stdin: w.stream(), Stdout: w.stream(), Stderr: w.stream(),
			From:         []wire.From{wire.FromOffset, wire.FromOldest, wire.FromNow}[r.IntN(3)],
			StdoutOffset: w.offset(), StderrOffset: w.offset(),
			Redraw: []wire.Redraw{"", wire.RedrawAuto, wire.RedrawReplay, wire.RedrawWinch}[r.IntN(4)],
		})
	case 5:
		w.send(&wire.Leave{Head: head, Exec: known})
	case 6:
		w.send(&wire.Acked{Head: wire.Head{ID: known}, StdoutOffset: w.offset(), StderrOffset: w.offset()})
		w.last--
	case 7:
		w.send(&wire.Kill{Head: head, Handle: w.handles.any(r), Force: r.IntN(2) == 0})
	case 8:
		w.send(&wire.Release{Head: head, Handle: w.handles.any(r)})
	case 9:
		if len(w.streams) > 0 {
			s := w.streams[r.IntN(len(w.streams))]
			if r.IntN(2) == 0 {
				s.Reset()
			} else {
				_, _ = s.WriteSoon([]byte("input\n"))
				_ = s.Close()
			}
		}
	}
}

// listen takes note of handles until the connection ends.
func (w *wanton) listen() {
	for {
		m, err := wire.Read(w.in)
		if err != nil {
			return
		}
		if started, ok := m.(*wire.Started); ok {
			w.handles.add(started.Handle)
		}
	}
}

// Hosts ask for anything. In the end nothing is left: no exec, no record, no memory, no
// share of the quotas.
func TestNothingIsLeftOfDetachedExecs(t *testing.T) {
	a := limited(t, session.Quotas{Keeping: job.Quotas{Rings: 1 << 20, Records: 20}, AllExecs: 100})
	for seed := range uint64(6) {
		known := &handles{}
		var hosts sync.WaitGroup
		for n := range uint64(4) {
			h, agentID := meet(t, a)
			w := &wanton{host: h, random: rand.New(rand.NewPCG(seed, n)), handles: known, agentID: agentID}
			hosts.Go(func() {
				var listening sync.WaitGroup
				listening.Go(w.listen)
				for range 150 {
					w.step()
				}
				_ = w.mux.Close()
				listening.Wait()
				w.reading.Wait()
			})
		}
		hosts.Wait()
		h := connect(t, a)
		id := uint64(0)
		agenttest.Eventually(t, "the end of all", func() bool {
			id++
			h.send(&wire.Execs{Head: wire.Head{ID: id}})
			list := h.receive().(*wire.Done).Execs
			for _, e := range list.Running {
				id++
				h.send(&wire.Kill{Head: wire.Head{ID: id}, Handle: e.Handle, Force: true})
				h.receive()
			}
			for _, e := range list.Ended {
				id++
				h.send(&wire.Release{Head: wire.Head{ID: id}, Handle: e.Handle})
				h.receive()
			}
			id++
			h.send(&wire.Info{Head: wire.Head{ID: id}})
			agent := h.receive().(*wire.Done).Agent // those that are starting are in no list
			return len(list.Running)+len(list.Ended) == 0 && agent.ExecsRunning == 0 && agent.RecordsKept == 0 && agent.RingMemory == 0
		})
		for n := range 50 { // all that a class may keep
			id++
			h.begin(&wire.Exec{Head: wire.Head{ID: id}, Argv: []string{"sleep", "1000"}, OnDisconnect: wire.DisconnectKeep})
			if n == 49 {
				h.send(&wire.Exec{Head: wire.Head{ID: id + 1}, Argv: []string{"true"}, OnDisconnect: wire.DisconnectKeep})
				wantError(t, h.receive(), id+1, wire.Limit, "kept execs")
			}
		}
		_ = h.mux.Close()
		h = connect(t, a)
		agenttest.Eventually(t, "the end of the kept ones", func() bool {
			id++
			list := h.list(id)
			for _, e := range list {
				id++
				h.send(&wire.Kill{Head: wire.Head{ID: id}, Handle: e.Handle, Force: true})
				h.receive()
			}
			return len(list) == 0
		})
		_ = h.mux.Close()
	}
}
