package mux

import (
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// A Quota bounds what the hosts of its sessions can make an agent hold. It is
// safe for concurrent use.
//
// yamux gives each stream a window of 256 KiB that cannot be made smaller or
// taken back, so what a host may send is no bound: what it has sent is counted,
// before yamux reads it. Where that is more than there is memory for, the
// connection is not read on until some of it has been read. If nobody does, the
// streams that hold most and are not being read lose what they hold, one after
// the other: see [Stream.OnOverrun].
type Quota struct {
	limits Limits

	mu      sync.Mutex
	ledgers map[*ledger]struct{}
	streams int           // of all ledgers
	input   int           // cost, of all ledgers
	freed   chan struct{} // closed when input gets less; nil: nobody waits for that
}

// NewQuota returns a Quota for any number of sessions.
func NewQuota(l Limits) *Quota {
	return &Quota{limits: l.withDefaults(), ledgers: make(map[*ledger]struct{})}
}

// Server makes conn the agent's side of a session within the quota. The session
// owns conn.
func (q *Quota) Server(conn io.ReadWriteCloser) (*Session, error) {
	l := &ledger{quota: q, accounts: make(map[uint32]*account), stopped: make(chan struct{})}
	s, err := newSession(conn, yamux.Server, agentWindow, l)
	if err != nil {
		return nil, err
	}
	l.session = s
	q.mu.Lock()
	q.ledgers[l] = struct{}{}
	q.mu.Unlock()
	s.inbox = newInbox()
	s.out.allowReads()
	go s.accept()
	return s, nil
}

// A ledger is what a Quota knows of one session. Its fields are guarded by the
// quota's mu.
type ledger struct {
	quota    *Quota
	session  *Session
	stopped  chan struct{} // closed when the connection is
	stopOnce sync.Once

	opened   bool // the control stream has come
	accounts map[uint32]*account
	input    int // cost of the accounts, and what is reserved
}

// An account is what a ledger knows of one stream. It is there until both sides
// have ended the stream and what it held has been read.
type account struct {
	ledger  *ledger
	id      uint32
	stream  *Stream // nil: not accepted yet
	refused bool    // it is one too many
	control bool    // it is the control stream

	hostEnded, agentEnded bool

	held, high int       // bytes that are unread; the most since the buffer was last given up
	read       time.Time // when bytes were last read, or came after there had been none
	condemned  bool      // it has lost what it held
}

// open opens an account for a stream.
func (l *ledger) open(id uint32) error {
	q := l.quota
	if l.accounts[id] != nil {
		return fmt.Errorf("stream %d is opened twice", id)
	}
	over := max(len(l.accounts)-q.limits.Streams, q.streams-q.limits.AllStreams)
	if over >= refusable {
		return ErrTooManyStreams
	}
	l.accounts[id] = &account{ledger: l, id: id, refused: over >= 0 && l.opened, control: !l.opened}
	l.opened = true
	q.streams++
	return nil
}

// receive counts n bytes for stream id, and waits for room for them.
func (l *ledger) receive(id uint32, n int) error {
	a := l.accounts[id]
	if a == nil || a.ended() || n > agentWindow {
		return nil // yamux drops them, or the session for them
	}
	if a.held == 0 {
		a.read = time.Now()
	}
	a.held += n
	a.weigh(max(a.high, a.held))
	return l.quota.await(l)
}

func (a *account) ended() bool { return a.hostEnded && a.agentEnded }

// weigh sets high, and the costs with it.
func (a *account) weigh(high int) {
	a.ledger.add(inputCost(high) - inputCost(a.high))
	a.high = high
}

func (l *ledger) add(cost int) {
	l.input += cost
	l.quota.input += cost
	if cost < 0 {
		l.quota.wake()
	}
}

func (q *Quota) wake() {
	if q.freed != nil {
		close(q.freed)
		q.freed = nil
	}
}

// settle closes an account that is no longer needed.
func (a *account) settle() {
	l := a.ledger
	if !a.ended() || a.held > 0 || l.accounts[a.id] != a {
		return
	}
	a.weigh(0)
	delete(l.accounts, a.id)
	l.quota.streams--
}

// fits says whether there is room for what l holds.
func (q *Quota) fits(l *ledger) bool {
	return l.input <= q.limits.Input && q.input <= q.limits.AllInput
}

// await waits until there is room for what l holds. It is called with mu held,
// which it lets go of in between.
func (q *Quota) await(l *ledger) error {
	if q.fits(l) {
		return nil
	}
	timer := time.NewTimer(stuckTime / 10)
	defer timer.Stop()
	for q.shrink(); !q.fits(l); q.shrink() {
		if q.freed == nil {
			q.freed = make(chan struct{})
		}
		freed, late, stopped := q.freed, false, false
		q.mu.Unlock()
		select {
		case <-freed:
		case <-timer.C:
			late = true
		case <-l.stopped:
			stopped = true
		}
		q.mu.Lock()
		if stopped {
			return net.ErrClosed
		}
		if late {
			q.relieve(l)
			timer.Reset(stuckTime / 10)
		}
	}
	return nil
}

// shrink has yamux give up the buffers of streams that hold nothing.
func (q *Quota) shrink() {
	for l := range q.ledgers {
		for _, a := range l.accounts {
			if a.held == 0 && a.high > 0 && a.stream != nil {
				a.stream.yamux.Shrink()
				a.weigh(0)
			}
		}
	}
}

// relieve has the stream that holds most and is not being read lose that: of
// l's where l holds more than its own share, else of the session that holds
// most. A session whose host keeps it from being emptied ends.
func (q *Quota) relieve(l *ledger) {
	if l.input <= q.limits.Input {
		for other := range q.ledgers {
			if other.input > l.input {
				l = other
			}
		}
	}
	var victim *account
	for _, a := range l.accounts {
		if a.held > 0 && time.Since(a.read) >= stuckTime && (victim == nil || a.high > victim.high) {
			victim = a
		}
	}
	switch {
	case victim == nil:
	case victim.stream == nil, victim.condemned, victim.control:
		go l.session.fail(ErrInput) // ends with it
	default:
		victim.condemned = true
		victim.read = time.Now()
		go victim.stream.overrun() // ends when the stream does, or the session
	}
}

// reserve counts n bytes that are held elsewhere.
func (l *ledger) reserve(n int) error {
	if n == 0 {
		return nil // whatever there is room for
	}
	q := l.quota
	q.mu.Lock()
	defer q.mu.Unlock()
	l.add(n)
	if !q.fits(l) {
		q.shrink()
	}
	if !q.fits(l) {
		l.add(-n)
		return ErrInput
	}
	return nil
}

func (l *ledger) release(n int) {
	l.quota.mu.Lock()
	defer l.quota.mu.Unlock()
	l.add(-n)
	l.drop()
}

// accepted gives a stream its account.
func (l *ledger) accepted(s *Stream) {
	l.quota.mu.Lock()
	defer l.quota.mu.Unlock()
	if a := l.accounts[s.ID()]; a != nil { // the host may have reset it
		a.stream = s
		s.account = a
	}
}

// took notes that n bytes have been read. (None were held where a is nil.)
func (a *account) took(n int) {
	if a == nil {
		return
	}
	q := a.ledger.quota
	q.mu.Lock()
	defer q.mu.Unlock()
	a.held = max(a.held-n, 0)
	a.read = time.Now()
	if a.held == 0 {
		q.wake() // for shrink
	}
	a.settle()
	a.ledger.drop()
}

// end notes that the agent has ended its direction, or, with lost, that the
// stream will be read no more.
func (a *account) end(lost bool) {
	if a == nil {
		return
	}
	a.ledger.quota.mu.Lock()
	defer a.ledger.quota.mu.Unlock()
	a.agentEnded = true
	if lost {
		a.held = 0
		a.hostEnded = true
	}
	a.settle()
	a.ledger.drop()
}

func (a *account) isRefused() bool { return a != nil && a.refused }

// end ends the account of a session. What streams hold that somebody reads
// counts until it has been read, all else is given up.
func (l *ledger) end() {
	q := l.quota
	q.mu.Lock()
	var unread []*Stream
	for _, a := range l.accounts {
		a.hostEnded, a.agentEnded = true, true
		switch {
		case a.stream == nil:
			a.held = 0
		case !a.stream.owned.Load():
			unread = append(unread, a.stream)
		}
		a.settle()
	}
	l.drop()
	q.mu.Unlock()
	for _, s := range unread {
		go s.purge() // ends at once, or with a Read
	}
}

// drop forgets the ledger of a session that is no more.
func (l *ledger) drop() {
	select {
	case <-l.session.ended:
		if len(l.accounts) == 0 && l.input == 0 {
			delete(l.quota.ledgers, l)
		}
	default:
	}
}

// stop ends a wait for room.
func (l *ledger) stop() { l.stopOnce.Do(func() { close(l.stopped) }) }
