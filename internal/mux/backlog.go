package mux

import (
	"sync"
	"time"
)

// An acceptBacklog holds the streams that the host has opened until they are claimed.
//
// A stream goes through: arrived → claimed, or arrived → expired. Expired ones
// are discarded. Arrival and claim may come in either order: the accept loop
// and the reader of the control stream are two goroutines.
type acceptBacklog struct {
	first chan *Stream // the control stream

	mu      sync.Mutex
	control *Stream // nil: it has not arrived
	waiting map[uint32]waiting
	arrived chan struct{} // closed and replaced at each arrival that somebody waits for

	// One timer for all: nearly every stream is claimed at once, and a timer of
	// its own would wake a thread for it.
	sweep *time.Timer
	armed bool // while a stream waits, and after that until the next sweep
}

type waiting struct {
	stream *Stream
	until  time.Time
}

// sweepTime is how often the streams that wait are looked at.
const sweepTime = ClaimTimeout / 4

func newAcceptBacklog() *acceptBacklog {
	b := &acceptBacklog{first: make(chan *Stream, 1), waiting: make(map[uint32]waiting)}
	b.sweep = time.AfterFunc(never, b.expire)
	return b
}

func (b *acceptBacklog) put(s *Stream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.control == nil {
		b.control = s
		b.first <- s
		return
	}
	b.waiting[s.ID()] = waiting{s, time.Now().Add(ClaimTimeout)}
	if !b.armed {
		b.armed = true
		b.sweep.Reset(sweepTime)
	}
	if b.arrived != nil {
		close(b.arrived)
		b.arrived = nil
	}
}

// expire discards the streams that nobody has claimed in time.
func (b *acceptBacklog) expire() {
	for _, s := range b.expired(time.Now()) {
		s.Discard()
	}
}

// expired takes them out. A request that names one may have come already: a guest
// may be too busy for requests to be read for much longer than ClaimTimeout. They
// are all kept then.
func (b *acceptBacklog) expired(now time.Time) (streams []*Stream) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, w := range b.waiting {
		if now.After(w.until) && b.control.isIdle() {
			streams = append(streams, w.stream)
			delete(b.waiting, id)
		}
	}
	if b.armed = len(b.waiting) > 0; b.armed {
		b.sweep.Reset(sweepTime)
	}
	return streams
}

func (b *acceptBacklog) take(id uint32) *Stream {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.takeLocked(id)
}

func (b *acceptBacklog) takeLocked(id uint32) *Stream {
	s := b.waiting[id].stream
	delete(b.waiting, id)
	return s
}

// claim waits for stream id until ended is closed or ClaimTimeout has passed. Ids need
// not arrive in order, so claim cannot tell one that has come and gone from one that is
// yet to come.
func (b *acceptBacklog) claim(id uint32, ended <-chan struct{}) (*Stream, error) {
	s, next := b.look(id)
	if s != nil { // as mostly: the request comes behind its streams
		return s, nil
	}
	timer := time.NewTimer(ClaimTimeout)
	defer timer.Stop()
	for ; s == nil; s, next = b.look(id) {
		select {
		case <-next:
		case <-timer.C:
			return nil, ErrNoStream
		case <-ended:
			return nil, ErrLost
		}
	}
	return s, nil
}

// look returns the stream, or a channel that the next arrival closes.
func (b *acceptBacklog) look(id uint32) (*Stream, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.takeLocked(id); s != nil {
		return s, nil
	}
	if b.arrived == nil {
		b.arrived = make(chan struct{})
	}
	return nil, b.arrived
}

// close discards what was never claimed.
func (b *acceptBacklog) close() {
	b.mu.Lock()
	unclaimed := b.waiting
	b.waiting = nil
	b.sweep.Stop()
	b.mu.Unlock()
	for _, w := range unclaimed {
		w.stream.Discard()
	}
}
