package mux

import (
	"sync/atomic"
	"time"
)

const (
	// fastRead is the longest time between two full windows of a stream that is
	// read fast. At 256 KiB a window that is 25 MiB/s, at 2 MiB 200 MiB/s.
	fastRead = 10 * time.Millisecond

	// growthFactor is how much larger than at first a window may become: 1 MiB on
	// the agent's side and 4 MiB on the host's.
	growthFactor = 4

	// DefaultWindows is the default of [Session.LimitWindows], in bytes.
	DefaultWindows = 64 << 20
)

// A growth is what the window of a stream has grown by. It is guarded by the stream's mu.
//
// A window is never made smaller: yamux has no frame for it. So a stream that stalls
// keeps its window, and the session counts it until the stream can hold nothing more.
type growth struct {
	size   int       // of the window, in bytes: the session's first one, doubled a few times
	passed int       // bytes read since full
	full   time.Time // when the latest full window had been read; zero: none has been
}

// widenLocked returns by how much the window grows, now that n bytes more have been read.
// It doubles if a full window has been read within fastRead of the one before, and
// the session has room for it. widenLocked is called with mu held.
func (s *Stream) widenLocked(n int) int {
	if s.urgent || s.direct != nil || s.discarded {
		return 0
	}
	if s.growth == nil {
		s.growth = &growth{size: s.session.window}
	}
	// Two parts that are given back at once may be a little less than a window (early).
	g := s.growth
	if g.passed += n; g.passed < g.size-2*early {
		return 0
	}
	now := time.Now()
	fast := now.Sub(g.full) <= fastRead
	g.full, g.passed = now, 0
	if !fast || g.size >= growthFactor*s.session.window || !s.session.promise(g.size) {
		return 0
	}
	delta := g.size
	g.size += delta
	return delta
}

// sizeLocked returns how large the window is, in bytes. It is called with mu held.
func (s *Stream) sizeLocked() int {
	if s.growth == nil {
		return s.session.window
	}
	return s.growth.size
}

// settleLocked gives back what the window has grown by, once the stream can hold nothing
// more. It is called with mu held.
func (s *Stream) settleLocked() {
	grown := s.sizeLocked() - s.session.window
	over := s.finished || s.reset || s.lost || s.discarded
	if grown == 0 || !over || len(s.received) > 0 {
		return
	}
	s.growth = nil
	s.session.retract(grown)
}

// promise counts n bytes that a window is to grow by, unless there is no room for them.
func (s *Session) promise(n int) bool {
	if s.ledger != nil {
		return s.ledger.promise(n)
	}
	return s.windows.promise(int64(n))
}

// retract undoes promise.
func (s *Session) retract(n int) {
	if s.ledger != nil {
		s.ledger.retract(n)
		return
	}
	s.windows.granted.Add(-int64(n))
}

// LimitWindows bounds the receive windows of the host's side, in bytes, all streams
// together: none grows beyond that. Streams that are opened get their first window
// whatever the sum is, and no window gets smaller. 0 stands for [DefaultWindows];
// below 0 no window grows. On the agent's side LimitWindows has no effect: there the
// [Quota] is the bound.
func (s *Session) LimitWindows(n int) {
	if n == 0 {
		n = DefaultWindows
	}
	s.windows.limit.Store(int64(n))
}

// windows count the receive windows of a host's side.
type windows struct {
	limit   atomic.Int64 // bytes
	granted atomic.Int64 // bytes, of the streams that are open, and what others had grown by that still hold some
}

func (w *windows) promise(n int64) bool {
	if w.granted.Add(n) > w.limit.Load() {
		w.granted.Add(-n)
		return false
	}
	return true
}

// promise counts n bytes that a window is to grow by, unless there is no room for them.
// Half of each limit is left for streams that are opened later. Unread input counts,
// though most of it is in a window that counts, too: a session whose input is not read
// needs no larger windows. The first windows of other sessions do not count: they may be
// more than any limit.
func (l *ledger) promise(n int) bool {
	q := l.quota
	q.mu.Lock()
	defer q.mu.Unlock()
	granted := l.streams*agentWindow + l.grown
	if l.ended || granted+l.input+n > q.limits.Input/2 || q.grown+q.input+n > q.limits.AllInput/2 {
		return false
	}
	l.grown += n
	q.grown += n
	return true
}

// retract undoes promise.
func (l *ledger) retract(n int) {
	l.quota.mu.Lock()
	defer l.quota.mu.Unlock()
	l.grown -= n
	l.quota.grown -= n
}
