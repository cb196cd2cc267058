package job

import (
	"context"
	"errors"
	"fmt"

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
// output is read any more, and no process is reaped. The processes run on. No job may be
// made or watched meanwhile, and no start be under way. Suspend waits for jobs that are just
// ending. The error is ctx's.
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

// still reports whether all jobs wait for the end of the pause.
func (t *Table) still() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.pause.parked == len(t.announced)
}

// Resume undoes Suspend, also one that has failed.
func (t *Table) Resume() {
	for _, j := range t.all() {
		j.rings((*ring).resume)
		j.process.Resume()
	}
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

// mayEnd reports whether a job may be ended, whose output has ended: there is no pause.
func (t *Table) mayEnd() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.pause.on
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
