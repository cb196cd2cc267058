package logqueue

import "time"

// tickTime is how long a record may wait for others, or for a Settle, if the file has
// no write that never blocks. A goroutine that wakes for each record costs more than
// the write, and so does a timer for each.
const tickTime = 20 * time.Millisecond

// A settling is a Settle that writes.
type settling struct {
	patience time.Duration
	late     func(error)
}

// Settle waits until every record that has been put is written, and returns
// [Queue.Sync]'s error. It writes what waits itself, if nobody else does, so that no
// other goroutine has to wake. If that write is not over soon after patience, late is
// called on another goroutine, once, with ErrStuck, and Settle returns false when the
// write ends: what follows is then late's.
func (q *Queue) Settle(patience time.Duration, late func(error)) (settled bool, err error) {
	batch, mark := q.beginSettling(&settling{patience, late})
	if batch == nil {
		return true, q.Sync(patience)
	}
	for batch != nil {
		q.write(batch)
		batch = q.nextBefore(mark)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	settled = q.settling != nil
	q.settling = nil
	if len(q.waiting) > 0 && !q.closed {
		q.wake()
	}
	return settled, q.stateLocked()
}

// beginSettling returns the records that s is to write, and how many must be
// settled then; or none, if the file is written to by somebody else.
func (q *Queue) beginSettling(s *settling) (batch []record, mark uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.direct != nil || q.settling != nil {
		return nil, 0
	}
	if batch = q.nextLocked(); batch != nil {
		q.settling = s
		q.tickSoonLocked()
	}
	return batch, q.accepted
}

// nextBefore returns records to write, while fewer than mark are settled.
func (q *Queue) nextBefore(mark uint64) []record {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.settled >= mark || q.settling == nil {
		return nil
	}
	return q.nextLocked()
}

// tickSoonLocked has tick called within tickTime. It is called with mu held.
func (q *Queue) tickSoonLocked() {
	switch {
	case q.ticking || q.closed:
		return
	case q.ticker == nil:
		q.ticker = time.AfterFunc(tickTime, q.tick)
	default:
		q.ticker.Reset(tickTime)
	}
	q.ticking = true
}

// tick has the writer write what waits, and lets go whoever has waited for a write
// of its own for too long.
func (q *Queue) tick() {
	q.mu.Lock()
	q.ticking = false
	var late *settling
	// Between two writes of a Settle none is under way, and so none is late.
	if s := q.settling; s != nil && !q.writing.IsZero() && time.Since(q.writing) >= s.patience {
		late, q.settling = s, nil
	}
	if len(q.waiting) > 0 && q.writing.IsZero() && !q.closed {
		q.wake()
	}
	if len(q.waiting) > 0 || q.settling != nil {
		q.tickSoonLocked()
	}
	q.mu.Unlock()
	if late != nil {
		late.late(ErrStuck)
	}
}
