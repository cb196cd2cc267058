package agenttest

import (
	"runtime"
	"testing"
)

// A Script is a fuzzer's input, read as a peer's doings. A byte selects an action, and
// those behind it its details. Missing bytes are 0.
type Script []byte

// Next takes the next byte.
func (s *Script) Next() byte {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return b
}

// Take takes the next n bytes, or those that are left.
func (s *Script) Take(n int) []byte {
	n = min(n, len(*s))
	b := (*s)[:n]
	*s = (*s)[n:]
	return b
}

// Frame takes a whole frame of yamux's, for any stream.
func (s *Script) Frame() []byte {
	kind, flags, id, length := s.Next(), s.Next(), s.Next(), s.Next()
	b := []byte{0, kind % 5, 0, flags, 0, 0, 0, id, 0, 0, 0, length}
	if kind%5 == 0 {
		b = append(b, make([]byte, length)...)
	}
	return b
}

// A ping of yamux's that comes behind all that a fuzzer says, and its answer.
var (
	LastPing = []byte("\x00\x02\x00\x01\x00\x00\x00\x00\x5e\xed\x5e\xed")
	LastPong = []byte("\x00\x02\x00\x02\x00\x00\x00\x00\x5e\xed\x5e\xed")
)

// Limits of growth since fuzzing began.
const (
	mostGoroutines = 50
	mostHeap       = 256 << 20 // bytes
)

// An Auditor checks now and then that what a fuzzer has made leaves nothing in
// memory.
type Auditor struct{ runs, goroutines int }

// NewAuditor returns one that compares with what is there now.
func NewAuditor() *Auditor { return &Auditor{goroutines: runtime.NumGoroutine()} }

// Audit is called after each run.
func (a *Auditor) Audit(tb testing.TB) {
	tb.Helper()
	a.runs++
	if a.runs%256 != 0 {
		return
	}
	Eventually(tb, "the end of goroutines", func() bool { return runtime.NumGoroutine() < a.goroutines+mostGoroutines })
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapAlloc > mostHeap {
		runtime.GC()
		runtime.ReadMemStats(&m)
	}
	if m.HeapAlloc > mostHeap {
		tb.Errorf("%d bytes of heap after %d runs", m.HeapAlloc, a.runs)
	}
}
