// Package logqueue writes a log without making anybody wait for whoever reads
// it: a full pipe, a hung journald or a console under flow control holds up the
// records and nothing else.
package logqueue

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// A Class of records has room of its own in a [Queue], so that records of one
// class cannot push out those of the other.
type Class int

// The classes.
const (
	Audit   Class = iota // what hosts have asked for
	General              // all else
	classes
)

// room is how many bytes of a class may wait, which is some thousand records.
var room = [classes]int{Audit: 1 << 20, General: 256 << 10}

// maxWrite is the most that one write carries, in bytes, unless one record is
// longer: what a pipe that polls as writable takes at once.
const maxWrite = 4096

// ErrStuck is returned by Sync if whoever reads the log takes nothing.
var ErrStuck = errors.New("the reader of the log is stuck")

// A Queue carries records to a file. It writes a record at once if the file
// takes it without blocking, and otherwise queues it for a goroutine of its own.
// A record for which there is no room is lost, and the losses are counted.
// A Queue is safe for concurrent use.
type Queue struct {
	file   io.Writer
	onLost func(n uint64)

	filled chan struct{} // has a token if the writer has something to do
	ended  chan struct{} // closed when the writer has ended

	mu       sync.Mutex
	direct   *direct // nil: the file has no write that never blocks
	waiting  []record
	ticker   *time.Timer   // calls tick; nil: there has been nothing to do yet
	ticking  bool          // it will
	settling *settling     // waits for the write under way, which is its own; or nil
	held     [classes]int  // bytes of the records that wait or are being written
	accepted uint64        // records, ever
	settled  uint64        // of these, written or lost in a write
	writing  time.Time     // when the write that is under way began; zero: none is
	progress chan struct{} // closed when settled has grown; nil: nobody waits for that
	lost     uint64        // records that have not been reported
	everLost uint64        // of Audit, or in a write that failed
	torn     bool          // the last line that was written is not whole
	silent   bool          // by Hold: nothing is written
	err      error         // of the latest write
	closed   bool
}

type record struct {
	class Class
	line  []byte
}

// New returns a Queue that writes to a file, or something like one, which stays the
// caller's. The Queue calls onLost on a goroutine of its own, once records are written
// again after n of them were lost; onLost may write a record about that. nil: losses
// are not reported. The caller closes the Queue.
func New(to io.Writer, onLost func(n uint64)) *Queue {
	if file, ok := to.(*os.File); ok {
		return newQueue(file, nonBlocking(file), onLost)
	}
	return newQueue(to, nil, onLost)
}

func newQueue(file io.Writer, direct *direct, onLost func(n uint64)) *Queue {
	q := &Queue{
		file: file, direct: direct, onLost: onLost,
		filled: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	go q.run() // stopped by Close
	return q
}

// A Writer writes the records of one class.
type Writer struct {
	queue *Queue
	class Class
}

// Writer returns the writer of a class.
func (q *Queue) Writer(class Class) Writer { return Writer{q, class} }

// Write takes one whole record, with its newline. It neither blocks nor fails.
func (w Writer) Write(p []byte) (int, error) {
	w.queue.put(w.class, p)
	return len(p), nil
}

func (q *Queue) put(class Class, p []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	rest := p
	if q.direct != nil && !q.silent && len(q.waiting) == 0 && q.writing.IsZero() {
		whole := q.beginLocked(p)
		n, err := q.direct.write(whole)
		n = q.wroteLocked(whole, max(n, 0)) - (len(whole) - len(p))
		if err != nil && !isFull(err) {
			q.failLocked(err, 1)
			return
		}
		n = max(n, 0)
		if n == len(p) {
			q.recoverLocked()
			return
		}
		rest = p[n:]
	}
	if len(rest) == len(p) && q.held[class]+len(p) > room[class] {
		q.lost++
		if class == Audit {
			q.everLost++
		}
		return
	}
	q.accepted++
	q.held[class] += len(rest)
	q.waiting = append(q.waiting, record{class, bytes.Clone(rest)})
	if q.direct != nil {
		q.wake()
	} else {
		q.tickSoonLocked()
	}
}

// failLocked notes that n records could not be written. It is called with mu held.
func (q *Queue) failLocked(err error, n uint64) {
	q.err = err
	q.lost += n
	q.everLost += n
}

// Lost returns how many records have been lost that were of class Audit, or may have
// been. It only grows: whoever finds the same number before a record was put and
// after it was settled knows that the record is written.
func (q *Queue) Lost() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.everLost
}

// recoverLocked notes that records can be written. It is called with mu held.
func (q *Queue) recoverLocked() {
	q.err = nil
	if q.lost > 0 {
		q.wake() // to report it
	}
}

func (q *Queue) wake() {
	select {
	case q.filled <- struct{}{}:
	default:
	}
}

// run is the writer. It blocks for as long as the reader of the log is stuck.
func (q *Queue) run() {
	defer close(q.ended)
	for range q.filled {
		for q.writeSome() {
		}
		q.report()
	}
}

// writeSome writes records that wait, if any do and nobody else is writing.
func (q *Queue) writeSome() bool {
	q.mu.Lock()
	batch := q.nextLocked()
	q.mu.Unlock()
	if batch == nil {
		return false
	}
	q.write(batch)
	return true
}

// nextLocked takes records of at most maxWrite bytes, or one, for the caller to write.
// It is called with mu held.
func (q *Queue) nextLocked() []record {
	if !q.writing.IsZero() || len(q.waiting) == 0 || q.silent {
		return nil
	}
	size, n := len(q.waiting[0].line), 1
	for n < len(q.waiting) && size+len(q.waiting[n].line) <= maxWrite {
		size += len(q.waiting[n].line)
		n++
	}
	batch := q.waiting[:n:n]
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil
	}
	q.writing = time.Now()
	return batch
}

func (q *Queue) write(batch []record) {
	lines := batch[0].line
	for _, r := range batch[1:] {
		lines = append(lines, r.line...)
	}
	q.mu.Lock()
	lines = q.beginLocked(lines)
	q.mu.Unlock()
	n, err := q.file.Write(lines)
	q.mu.Lock()
	q.wroteLocked(lines, n)
	q.mu.Unlock()
	q.settle(batch, lines[n:], err)
}

// beginLocked puts a newline before what follows a line that was not written whole,
// unless it is the rest of that line. It is called with mu held.
func (q *Queue) beginLocked(p []byte) []byte {
	if q.torn && q.err != nil {
		return append([]byte("\n"), p...)
	}
	return p
}

// wroteLocked notes that the first n bytes of p were written, and returns n. It is called
// with mu held.
func (q *Queue) wroteLocked(p []byte, n int) int {
	if n > 0 {
		q.torn = p[n-1] != '\n'
	}
	return n
}

// settle accounts for a batch. The lines in left were not written.
func (q *Queue) settle(batch []record, left []byte, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.writing = time.Time{}
	q.settled += uint64(len(batch))
	for _, r := range batch {
		q.held[r.class] -= len(r.line)
	}
	if err != nil {
		q.failLocked(err, uint64(bytes.Count(left, []byte("\n"))))
	} else {
		q.err = nil
	}
	if q.progress != nil {
		close(q.progress)
		q.progress = nil
	}
}

// report has the losses reported, if records can be written again.
func (q *Queue) report() {
	q.mu.Lock()
	n := q.lost
	if q.err != nil || q.onLost == nil {
		n = 0
	}
	q.lost -= n
	q.mu.Unlock()
	if n > 0 {
		q.onLost(n)
	}
}

// Sync waits until every record that has been put is written, for at most
// patience. If the write under way has taken that long already, Sync does not wait
// at all: a log that nobody reads delays its callers once. The error says why
// records are not written, or that some have been lost and not reported yet.
func (q *Queue) Sync(patience time.Duration) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if mark := q.accepted; q.settled < mark && !q.silent {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		if !q.awaitLocked(mark, patience, timer.C) {
			return ErrStuck
		}
	}
	return q.stateLocked()
}

// awaitLocked waits until mark records are settled. It is called with mu held, and
// waits without.
func (q *Queue) awaitLocked(mark uint64, patience time.Duration, late <-chan time.Time) bool {
	for q.settled < mark {
		if !q.writing.IsZero() && time.Since(q.writing) >= patience {
			return false
		}
		if q.writing.IsZero() && !q.closed {
			q.wake()
		}
		if q.progress == nil {
			q.progress = make(chan struct{})
		}
		progress := q.progress
		q.mu.Unlock()
		select {
		case <-progress:
			q.mu.Lock()
		case <-late:
			q.mu.Lock()
			return false
		}
	}
	return true
}

// stateLocked says why records are not written, or that some have been lost.
func (q *Queue) stateLocked() error {
	if q.err != nil {
		return q.err
	}
	if q.lost > 0 {
		return fmt.Errorf("%d log records were lost", q.lost)
	}
	return nil
}

// Close writes what waits, for at most patience, and ends the Queue: later
// records are dropped. A write that blocks is left alone, and ends with the
// program. Close is idempotent.
func (q *Queue) Close(patience time.Duration) error {
	err := q.Sync(patience)
	if stuck := q.end(); !stuck {
		<-q.ended
	}
	return err
}

// Hold has the Queue write nothing until Release, once what it has is written, for which it
// waits for at most patience. Records wait as long as there is room, and nobody waits for them.
func (q *Queue) Hold(patience time.Duration) {
	_ = q.Sync(patience)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.silent = true
}

// Release has the Queue write again.
func (q *Queue) Release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.silent = false; !q.closed {
		q.wake()
	}
}

// end stops the writer, and says whether it is in a write.
func (q *Queue) end() (stuck bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		q.direct.close()
		close(q.filled)
	}
	return !q.writing.IsZero()
}
