package job

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// A pause is what holds the jobs of a table while they are suspended. The table's mu guards
// it.
type pause struct {
	on     bool
	parked int           // jobs whose Follow waits for the end of this pause
	over   chan struct{} // closed by Resume; nil: there is no pause
	moved  chan struct{} // has a token when a job has been parked or has ended
}

// Suspend stops all work of the table's jobs, so that [Table.Save] finds nothing under way: no
// output is read any more, no input is written, and no process is reaped. The processes run on. No job
// may be made or watched meanwhile, and no start be under way. The streams of input have ended. Suspend
// waits for jobs that are just ending. The error is ctx's.
func (t *Table) Suspend(ctx context.Context) error {
	t.mu.Lock()
	t.pause.on, t.pause.over = true, make(chan struct{})
	t.mu.Unlock()
	for _, j := range t.all() {
		j.rings((*ring).suspend)
		j.process.Suspend()
	}
	for !t.still() {
		select {
		case <-t.pause.moved:
		case <-ctx.Done():
			return fmt.Errorf("%w: commands are ending", ctx.Err())
		}
	}
	return nil
}

// still reports whether all jobs wait for the end of the pause, and none is fed.
func (t *Table) still() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pause.parked != len(t.announced) {
		return false
	}
	for _, j := range t.announced {
		if j.isFed() {
			return false
		}
	}
	return true
}

// Resume undoes Suspend, also one that has failed.
func (t *Table) Resume() {
	for _, j := range t.all() {
		j.rings((*ring).resume)
		j.process.Resume()
	}
	t.endPause()
	for _, j := range t.all() {
		j.feedLeft()
	}
}

func (t *Table) endPause() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.pause.on, t.pause.parked = false, 0
	close(t.pause.over)
}

// park waits until the pause is over.
func (t *Table) park() {
	t.mu.Lock()
	if !t.pause.on {
		t.mu.Unlock()
		return
	}
	over := t.pause.over
	t.pause.parked++
	t.noteMovedLocked()
	t.mu.Unlock()
	<-over
}

func (j *Job) beginFeeding() {
	j.table.jobs.Add(1)
	j.feeds.Add(1)
}

func (j *Job) endFeeding() {
	j.feeds.Add(-1)
	j.table.noteMoved()
	j.table.jobs.Done()
}

// isFed reports whether input is being written. The end of a terminal's input, which is typed as long
// as the process lives, does not count.
func (j *Job) isFed() bool {
	return j.feeds.Load() > 0 && (!j.TTY || !j.process.Stdin().Ended())
}

// A suspendedInput is input that came before a job was suspended. It is the source of one feed.
type suspendedInput struct {
	bytes     []byte
	end       bool // nothing comes behind it
	discarded atomic.Bool
}

// errInputLost ends input behind which more may come.
var errInputLost = errors.New("the host has gone")

// inputPart is how much of it is written at a time, in bytes: Discard waits for that.
const inputPart = 64 << 10

// WriteTo is that of a stream.
func (s *suspendedInput) WriteTo(w io.Writer) (n int64, err error) {
	for rest := s.bytes; len(rest) > 0; {
		if s.discarded.Load() {
			return n, errInputLost
		}
		wrote, err := w.Write(rest[:min(len(rest), inputPart)])
		n += int64(wrote)
		if err != nil {
			return n, err
		}
		rest = rest[wrote:]
	}
	if !s.end {
		return n, errInputLost
	}
	return n, nil
}

// Discard has WriteTo fail soon.
func (s *suspendedInput) Discard() { s.discarded.Store(true) }

// leaveInput keeps what a feed has left when the job was suspended.
func (j *Job) leaveInput(left *proc.LeftError) {
	j.addLeft(left)
	if j.table.mayEnd() { // the pause is over already
		j.feedLeft()
	}
}

func (j *Job) addLeft(left *proc.LeftError) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := &suspendedInput{bytes: left.Input, end: left.End}
	if j.input != nil {
		s.bytes = append(j.input.bytes, s.bytes...)
	}
	j.input = s
}

// feedLeft goes on with the input that came before the job was suspended.
func (j *Job) feedLeft() {
	j.mu.Lock()
	defer j.mu.Unlock()
	left := j.input
	j.input = nil
	switch {
	case left == nil:
	case j.kept != nil:
		j.feedNextLocked(left)
	default:
		j.goFeed(left)
	}
}

// mayEnd reports whether a job may be ended, whose output has ended: there is no pause.
func (t *Table) mayEnd() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.pause.on
}

func (t *Table) noteMoved() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.noteMovedLocked()
}

func (t *Table) noteMovedLocked() {
	select {
	case t.pause.moved <- struct{}{}:
	default:
	}
}

func suspended(err error) bool { return errors.Is(err, proc.ErrSuspended) }

// suspend has a Write that waits for room return with [proc.ErrSuspended].
func (r *ring) suspend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.suspended = true
	r.freed.Broadcast()
}

func (r *ring) resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.suspended = false
}
