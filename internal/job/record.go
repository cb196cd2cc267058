package job

import (
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

// Quotas bound what a table keeps. 0 stands for the default.
type Quotas struct {
	Rings   int // bytes of output that all detached jobs keep together: DefaultRings
	Records int // of kept jobs that have ended: DefaultRecords
}

// DefaultRecords is how many records of kept jobs that have ended there are at most. The
// oldest ones go first.
const DefaultRecords = 4096

const (
	// recordTick is how often the records' ages are counted, and recordAge the age in ticks
	// that none reaches: a day. A VM that is paused, or whose clock jumps, gets no older.
	recordTick = time.Minute
	recordAge  = 24 * 60
)

// Records are kept jobs that have ended, the oldest first. The table's mu guards them.
type records struct {
	limit    int
	byHandle map[Handle]*Job
	order    []*Job
	timer    *time.Timer // counts their ages; nil: there are none
}

// conclude makes x the record of a kept job's end, for all that wait for it.
func (j *Job) conclude(x *Exit) {
	k := j.kept
	k.exit, k.ran = x, time.Since(j.begun)
	t := j.table
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.announced, j.handle)
	t.noteMovedLocked()
	t.keepLocked(j)
	close(k.over)
}

func (t *Table) keep(j *Job) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keepLocked(j)
}

// keepLocked keeps the record of a job.
func (t *Table) keepLocked(j *Job) {
	r := &t.records
	for len(r.order) >= r.limit {
		t.dropLocked(r.order[0])
	}
	r.byHandle[j.handle] = j
	r.order = append(r.order, j)
	if r.timer == nil {
		r.timer = time.AfterFunc(recordTick, t.age)
	}
}

// dropLocked does away with the record of a job, its key, and its output.
func (t *Table) dropLocked(j *Job) {
	r := &t.records
	delete(r.byHandle, j.handle)
	r.order = slices.DeleteFunc(r.order, func(other *Job) bool { return other == j })
	t.unclaimLocked(j)
	j.forget()
}

// age makes all records older by a tick.
func (t *Table) age() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, j := range slices.Clone(t.records.order) {
		j.kept.ticks++
		if j.kept.ticks >= recordAge {
			t.dropLocked(j)
		}
	}
	if len(t.records.order) == 0 {
		t.records.timer = nil
		return
	}
	t.records.timer.Reset(recordTick)
}

// evict takes the output of the job away that ended first, of those that have any. It
// reports whether there was one.
func (t *Table) evict() bool {
	for _, j := range t.ended() {
		dropped := false
		j.rings(func(r *ring) { dropped = r.drop() || dropped })
		if dropped {
			return true
		}
	}
	return false
}

func (t *Table) ended() []*Job {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.records.order)
}

// FindKept is Find that finds kept jobs that have ended, too.
func (t *Table) FindKept(h Handle, class string) (*Job, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, j := range []*Job{t.announced[h], t.records.byHandle[h]} {
		if j != nil && j.Class == class {
			return j, nil
		}
	}
	return nil, fmt.Errorf("%w: %s is not kept", ErrNotFound, hex.EncodeToString(h[:]))
}

// Release does away with the record and the output of a kept job that has ended. The error
// wraps [ErrNotFound] or [ErrRunning].
func (t *Table) Release(h Handle, class string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if j := t.records.byHandle[h]; j != nil && j.Class == class {
		t.dropLocked(j)
		return nil
	}
	if j := t.announced[h]; j != nil && j.Class == class {
		return ErrRunning
	}
	return fmt.Errorf("%w: %s is not kept", ErrNotFound, hex.EncodeToString(h[:]))
}
