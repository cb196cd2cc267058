package job

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// HandleSize is the length of a Handle in bytes.
const HandleSize = 16

// A Handle names a job of an agent and no other.
type Handle [HandleSize]byte

const (
	// MaxWaiting is how many requests may wait for one job to start: see
	// [Job.Crowded]. Each takes some 170 bytes.
	MaxWaiting = 1024

	// maxAllWaiting is how many may wait for all jobs.
	maxAllWaiting = 64 << 10
)

// ErrNotFound says that no job of a table has a handle.
var ErrNotFound = errors.New("no such exec")

// A Table has the jobs of an agent. It is safe for concurrent use.
type Table struct {
	spawner *proc.Spawner
	waiting atomic.Int64   // requests that wait for a job to start
	jobs    sync.WaitGroup // and what feeds them

	counters counters

	memory memory // of rings

	mu        sync.Mutex
	announced map[Handle]*Job
	keys      map[keyName]*Job
	records   records
	pause     pause
}

// NewTable returns a Table whose jobs spawner starts.
func NewTable(spawner *proc.Spawner, q Quotas) *Table {
	t := &Table{
		spawner:   spawner,
		announced: make(map[Handle]*Job),
		keys:      make(map[keyName]*Job),
		records:   records{limit: cmp.Or(q.Records, DefaultRecords), byHandle: make(map[Handle]*Job)},
	}
	t.pause.moved = make(chan struct{}, 1)
	t.memory = memory{limit: cmp.Or(q.Rings, DefaultRings), evict: t.evict}
	return t
}

// New makes a job, which [Job.End] ends. It is terminated timeout after its start has
// begun; 0: never. linger is [proc.Process.Drain]'s.
func (t *Table) New(l Label, timeout, linger time.Duration) *Job {
	j := &Job{Label: l, table: t, begun: time.Now(), timeout: timeout, linger: linger}
	_, _ = rand.Read(j.handle[:]) // never fails
	t.jobs.Add(1)
	return j
}

// Find returns the job that h names, if hosts of class see it. The error wraps
// [ErrNotFound].
func (t *Table) Find(h Handle, class string) (*Job, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if j, ok := t.announced[h]; ok && j.Class == class {
		return j, nil
	}
	return nil, fmt.Errorf("%w: %s does not run", ErrNotFound, hex.EncodeToString(h[:]))
}

// A State is a job at a moment.
type State struct {
	Label
	Handle  Handle
	PID     int
	Watched bool
	Running time.Duration // since it was made

	Detached       bool
	Input          bool    // its stdin is there and has not ended
	Oldest, Newest Offsets // see [Job.Kept]
	Exit           *Exit   // nil: it has not ended
}

// List returns the jobs that hosts of class see, the oldest first: those that run, or the
// kept ones that have ended.
func (t *Table) List(class string, ended bool) []State {
	all := t.all()
	if ended {
		all = t.ended()
	}
	all = slices.DeleteFunc(all, func(j *Job) bool { return j.Class != class })
	slices.SortFunc(all, func(a, b *Job) int {
		return cmp.Or(a.begun.Compare(b.begun), cmp.Compare(a.PID(), b.PID()))
	})
	states := make([]State, len(all))
	for i, j := range all {
		states[i] = j.State()
	}
	return states
}

// Terminate ends all jobs that have been announced: see [Job.Terminate].
func (t *Table) Terminate(reason Reason, grace time.Duration) {
	for _, j := range t.all() {
		j.Terminate(reason, grace)
	}
}

// Check takes each lock that a request about a job needs.
func (t *Table) Check() {
	for _, j := range t.all() {
		j.Check()
	}
}

// Unread returns how many jobs have output that nobody has read.
func (t *Table) Unread() (n int) {
	for _, j := range t.all() {
		if j.process.Unread() > 0 {
			n++
		}
	}
	return n
}

// Wait waits for the end of all jobs. No job may be made meanwhile.
func (t *Table) Wait() { t.jobs.Wait() }

func (t *Table) all() []*Job {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*Job, 0, len(t.announced))
	for _, j := range t.announced {
		all = append(all, j)
	}
	return all
}

func (t *Table) add(j *Job) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.announced[j.handle] = j
}

func (t *Table) remove(j *Job) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.announced, j.handle)
	t.noteMovedLocked()
}
