package mux

import (
	"io"
	"net"
	"sync"
	"time"
)

// A Quota bounds what the hosts of its sessions can make an agent hold. It is
// safe for concurrent use.
//
// Each stream has a window of 256 KiB that cannot be made smaller or taken back. One
// that is read fast has up to 1 MiB. So windows do not bound what a host may send. The
// memory that holds received bytes is counted, before it is made. Windows grow only as
// long as all windows of a session are less than half of its limit: the other half is
// for streams that are opened later. Without room the connection is not read on until
// some of it has been read. If nobody does, the streams that hold most and are not
// being read lose what they hold, one after the other: see [Stream.OnOverrun].
type Quota struct {
	limits QuotaConfig

	mu      sync.Mutex
	ledgers map[*ledger]struct{}
	streams int           // of all ledgers
	input   int           // bytes, of all ledgers
	grown   int           // bytes that windows have grown by, of all ledgers
	freed   chan struct{} // closed when input gets less; nil: nobody waits for that
}

// NewQuota returns a Quota for any number of sessions.
func NewQuota(l QuotaConfig) *Quota {
	return &Quota{limits: l.withDefaults(), ledgers: make(map[*ledger]struct{})}
}

// Server makes conn the agent's side of a session within the quota. The session
// owns conn, as [Client]'s does.
func (q *Quota) Server(conn io.ReadWriteCloser) *Session {
	l := &ledger{quota: q, holding: make(map[*Stream]*account), stopped: make(chan struct{})}
	q.mu.Lock()
	q.ledgers[l] = struct{}{}
	q.mu.Unlock()
	return newSession(conn, "", l)
}

// A ledger is what a Quota knows of one session. Its fields are guarded by the
// quota's mu, which may be taken with a stream's or the session's held.
type ledger struct {
	quota    *Quota
	session  *Session      // set before there is a stream
	stopped  chan struct{} // closed when the connection is
	stopOnce sync.Once

	streams int // open
	refused int // of those, beyond the limit
	ended   bool

	input   int                  // bytes that streams hold, and that are reserved
	grown   int                  // bytes that windows have grown by
	holding map[*Stream]*account // of streams that hold some
}

// An account is what a stream holds.
type account struct {
	bytes     int
	read      time.Time // when some were last read, or came after there had been none
	condemned bool      // it is being thrown away
}

// open counts a stream, and says whether it is one too many.
func (l *ledger) open() (refused bool, err error) {
	q := l.quota
	q.mu.Lock()
	defer q.mu.Unlock()
	if l.streams > 0 && (l.streams >= q.limits.Streams || q.streams >= q.limits.AllStreams) {
		if l.refused >= refusable {
			return true, ErrTooManyStreams
		}
		l.refused++
		refused = true
	}
	l.streams++
	q.streams++
	return refused, nil
}

// close undoes open.
func (l *ledger) close(refused bool) {
	q := l.quota
	q.mu.Lock()
	defer q.mu.Unlock()
	l.streams--
	q.streams--
	if refused {
		l.refused--
	}
}

// end is called when the session has ended, and counts its streams no more.
func (l *ledger) end() {
	q := l.quota
	q.mu.Lock()
	defer q.mu.Unlock()
	q.streams -= l.streams
	l.streams, l.refused, l.ended = 0, 0, true
	l.dropLocked()
}

// dropLocked forgets a session that has ended and holds nothing any more.
func (l *ledger) dropLocked() {
	if l.ended && l.input == 0 {
		delete(l.quota.ledgers, l)
	}
}

// hold counts n bytes that s is about to hold, and waits for room for them.
func (l *ledger) hold(s *Stream, n int) error {
	q := l.quota
	q.mu.Lock()
	defer q.mu.Unlock()
	a := l.holding[s]
	if a == nil {
		a = &account{read: time.Now()}
		l.holding[s] = a
	}
	// The control stream always has room for what comes first: requests that end
	// something, or ask for nothing, are heard when there is no memory.
	heard := s.urgent && a.bytes == 0
	a.bytes += n
	l.addLocked(n)
	if heard {
		return nil
	}
	err := q.awaitLocked(l)
	if err != nil {
		l.giveLocked(s, n)
	}
	return err
}

// free undoes hold.
func (l *ledger) free(s *Stream, n int) {
	l.quota.mu.Lock()
	defer l.quota.mu.Unlock()
	l.giveLocked(s, n)
}

func (l *ledger) giveLocked(s *Stream, n int) {
	a := l.holding[s]
	a.read = time.Now()
	if a.bytes -= n; a.bytes == 0 {
		delete(l.holding, s)
	}
	l.addLocked(-n)
	l.dropLocked()
}

func (l *ledger) addLocked(n int) {
	l.input += n
	l.quota.input += n
	if n < 0 && l.quota.freed != nil {
		close(l.quota.freed)
		l.quota.freed = nil
	}
}

// fitsLocked says whether there is room for what l holds.
func (q *Quota) fitsLocked(l *ledger) bool {
	return l.input <= q.limits.Input && q.input <= q.limits.AllInput
}

// awaitLocked waits until there is room for what l holds. It is called with mu held,
// and lets go of it in between.
func (q *Quota) awaitLocked(l *ledger) error {
	if q.fitsLocked(l) {
		return nil
	}
	timer := time.NewTimer(stuckTime / 10)
	defer timer.Stop()
	for !q.fitsLocked(l) {
		if q.freed == nil {
			q.freed = make(chan struct{})
		}
		freed := q.freed
		q.mu.Unlock()
		var err error
		select {
		case <-freed:
		case <-l.stopped:
			err = net.ErrClosed
		case <-timer.C:
			q.relieve(l)
			timer.Reset(stuckTime / 10)
		}
		q.mu.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

// relieve has the stream that holds most and is not being read lose that.
func (q *Quota) relieve(l *ledger) {
	q.mu.Lock()
	victim := q.victimLocked(l)
	q.mu.Unlock()
	switch {
	case victim == nil:
	case victim.urgent: // nobody reads the requests
		victim.session.fail(ErrInput)
	default:
		victim.overrun()
	}
}

// victimLocked returns one of l's streams if l holds more than its own share, else one
// of the session that holds most. It is called with mu held.
func (q *Quota) victimLocked(l *ledger) (victim *Stream) {
	if l.input <= q.limits.Input {
		for other := range q.ledgers {
			if other.input > l.input {
				l = other
			}
		}
	}
	most := 0
	for s, a := range l.holding {
		if !a.condemned && a.bytes > most && time.Since(a.read) >= stuckTime {
			victim, most = s, a.bytes
		}
	}
	if victim != nil {
		l.holding[victim].condemned = true
	}
	return victim
}

// reserve counts n bytes that are held elsewhere.
func (l *ledger) reserve(n int) error {
	if n == 0 {
		return nil // whatever there is room for
	}
	q := l.quota
	q.mu.Lock()
	defer q.mu.Unlock()
	l.addLocked(n)
	if q.fitsLocked(l) {
		return nil
	}
	l.addLocked(-n)
	return ErrInput
}

func (l *ledger) release(n int) {
	l.quota.mu.Lock()
	defer l.quota.mu.Unlock()
	l.addLocked(-n)
	l.dropLocked()
}

// stop ends a wait for room.
func (l *ledger) stop() { l.stopOnce.Do(func() { close(l.stopped) }) }
