package job

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/screen"
)

// A Saved is a [Table] whose jobs are suspended, for a program that is executed in the place of
// this one. Times are those of [proc.Monotonic].
type Saved struct {
	Jobs   []*SavedJob // those that run
	Ended  []*SavedJob // the kept ones that have ended, the oldest first
	Counts Counts      // the numbers of what has been
}

// Processes returns those of the jobs that run.
func (s *Saved) Processes() (all []*proc.Saved) {
	for _, j := range s.Jobs {
		all = append(all, j.Process)
	}
	return all
}

// A SavedJob is a [Job] of a Saved.
type SavedJob struct {
	Label
	Handle   []byte        `json:",omitempty"`
	Begun    time.Duration `json:",omitempty"`
	Deadline time.Duration `json:",omitempty"` // 0: none
	Linger   time.Duration `json:",omitempty"`
	Killed   bool          `json:",omitempty"`
	Reason   Reason        `json:",omitempty"` // why it is being ended; empty: it is not
	PID      int           `json:",omitempty"`

	Process        *proc.Saved `json:",omitempty"` // nil: it has ended
	Stdout, Stderr int64       `json:",omitempty"` // bytes that its watchers or rings have taken

	// Outputs that have ended were cut: see [Exit].
	StdoutCut, StderrCut bool `json:",omitempty"`

	Input    Bytes // was sent, and the process has not taken it
	InputEnd bool  `json:",omitempty"` // behind it nothing comes

	Kept *SavedKept `json:",omitempty"` // nil: nothing of the job outlives its end
}

// A SavedKept is what a SavedJob has that is kept.
type SavedKept struct {
	Keeping
	Request        []byte        `json:",omitempty"` // with a key
	Claimed        bool          `json:",omitempty"` // the key names the job
	Fed, InputEnd  bool          `json:",omitempty"`
	Stdout, Stderr *SavedRing    // nil: the job is not detached
	Exit           *SavedExit    `json:",omitempty"` // nil: it has not ended
	Ran            time.Duration `json:",omitempty"`
	LeaseEnd       time.Duration `json:",omitempty"` // with a lease: when it is over
	Ticks          int           `json:",omitempty"`
}

// A SavedExit is an [Exit] with the text of its error.
type SavedExit struct {
	Exit
	Err string `json:",omitempty"`
}

// A SavedRing is the output that is kept of a job.
type SavedRing struct {
	Limit                 int           `json:",omitempty"`
	Block                 bool          `json:",omitempty"`
	Held                  int           `json:",omitempty"`
	Oldest, Newest, Acked uint64        `json:",omitempty"`
	Ended, Loose          bool          `json:",omitempty"`
	Screen                *screen.Saved `json:",omitempty"` // nil: it is not a terminal's
	Bytes                 Bytes
}

// Bytes are output or input that stands apart from the rest of a Saved: from an offset on.
type Bytes struct{ At, Len int64 }

// A Putter keeps bytes, in parts that follow each other. They do not change until it is written.
type Putter interface{ Put(parts ...[]byte) Bytes }

// A Getter fills p with bytes from an offset on. The error says that it is not there.
type Getter interface {
	Get(at int64, p []byte) error
}

// Save returns the jobs, which are suspended. Their output is in the rings until the Putter is
// written.
func (t *Table) Save(store Putter) (*Saved, error) {
	s := &Saved{Counts: t.Counts()}
	for _, j := range t.all() {
		saved, err := j.save(store)
		if err != nil {
			return nil, err
		}
		s.Jobs = append(s.Jobs, saved)
	}
	for _, j := range t.ended() {
		saved, err := j.save(store)
		if err != nil {
			return nil, err
		}
		s.Ended = append(s.Ended, saved)
	}
	return s, nil
}

func (j *Job) save(store Putter) (s *SavedJob, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	s = &SavedJob{
		Label: j.Label, Handle: j.handle[:], Begun: proc.Monotonic() - time.Since(j.begun), Linger: j.linger, Killed: j.killed.Load(),
		PID: j.process.PID(), Stdout: j.stdout.taken, Stderr: j.stderr.taken, StdoutCut: j.stdout.cut, StderrCut: j.stderr.cut,
	}
	if j.timeout > 0 {
		s.Deadline = s.Begun + j.timeout
	}
	if r := j.reason.Load(); r != nil {
		s.Reason = *r
	}
	if j.Exit() == nil {
		if s.Process, err = j.process.Save(); err != nil {
			return nil, err
		}
	}
	if j.input != nil && s.Process != nil {
		s.Input, s.InputEnd = store.Put(j.input.bytes), j.input.end
	}
	if j.kept != nil {
		s.Kept = j.saveKeptLocked(store)
	}
	return s, nil
}

func (j *Job) saveKeptLocked(store Putter) *SavedKept {
	k := j.kept
	s := &SavedKept{Keeping: k.Keeping, Claimed: j.claimed(), Fed: k.fed, InputEnd: j.inputEndedLocked(), Ran: k.ran, LeaseEnd: k.leaseEnd, Ticks: k.ticks}
	if len(k.Key) > 0 {
		s.Request = k.Request[:]
	}
	if x := j.Exit(); x != nil {
		s.Exit = &SavedExit{Exit: *x}
		if x.Err != nil {
			s.Exit.Err = x.Err.Error()
		}
		s.Exit.Exit.Err = nil
	}
	if k.Detach {
		s.Stdout, s.Stderr = k.stdout.save(store), k.stderr.save(store)
	}
	return s
}

func (r *ring) save(store Putter) *SavedRing {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &SavedRing{
		Limit: r.limit, Block: r.block, Held: r.held, Oldest: r.oldest, Newest: r.newest, Acked: r.acked, Ended: r.ended, Loose: r.loose,
	}
	if r.screen != nil {
		s.Screen = r.screen.Save()
	}
	if r.newest > r.oldest {
		first := r.partLocked(r.oldest, r.newest)
		s.Bytes = store.Put(first, r.partLocked(r.oldest+uint64(len(first)), r.newest))
	}
	return s
}

// maxInput bounds the input that a Saved has of a job, in bytes. It is more than the windows of two
// streams: of the one that is read, and of the next one.
const maxInput = 16 << 20

// errSaved is the error of a Saved that no table makes.
var errSaved = errors.New("job: saved state")

// Check returns an error if no table has saved this.
func (s *Saved) Check() error {
	for _, j := range append(s.Jobs[:len(s.Jobs):len(s.Jobs)], s.Ended...) {
		if err := j.check(); err != nil {
			return fmt.Errorf("%w: job %x: %w", errSaved, j.Handle, err)
		}
	}
	for _, j := range s.Jobs {
		if j.Process == nil || j.Kept != nil && j.Kept.Exit != nil {
			return fmt.Errorf("%w: job %x runs without a process", errSaved, j.Handle)
		}
	}
	for _, j := range s.Ended {
		if j.Kept == nil || j.Kept.Exit == nil {
			return fmt.Errorf("%w: job %x has ended without a record", errSaved, j.Handle)
		}
		if k := j.Kept; k.Detach && (!k.Stdout.Ended || !k.Stderr.Ended) {
			return fmt.Errorf("%w: job %x has ended before its output", errSaved, j.Handle)
		}
	}
	return nil
}

func (s *SavedJob) check() error {
	switch {
	case len(s.Handle) != HandleSize:
		return fmt.Errorf("handle of %d bytes", len(s.Handle))
	case s.PID < 2 || s.Process != nil && s.Process.PID != s.PID:
		return fmt.Errorf("pid %d", s.PID)
	case s.Input.Len < 0 || s.Input.Len > maxInput || s.Input.Len > 0 && (s.Process == nil || s.Process.Stdin < 0):
		return fmt.Errorf("input of %d bytes", s.Input.Len)
	case s.Kept == nil:
		return nil
	case len(s.Kept.Key) > 0 && len(s.Kept.Request) != len(s.Kept.Keeping.Request):
		return fmt.Errorf("digest of %d bytes", len(s.Kept.Request))
	case s.Kept.Detach != (s.Kept.Stdout != nil) || s.Kept.Detach != (s.Kept.Stderr != nil):
		return errors.New("rings of a job that is not detached, or none")
	case s.Kept.Detach && s.TTY != (s.Kept.Stdout.Screen != nil):
		return errors.New("the screen of a job without a terminal, or none")
	}
	for _, r := range []*SavedRing{s.Kept.Stdout, s.Kept.Stderr} {
		if r == nil {
			continue
		}
		if err := r.check(); err != nil {
			return err
		}
	}
	return nil
}

func (s *SavedRing) check() error {
	length := s.Newest - s.Oldest
	switch {
	case s.Newest < s.Oldest || s.Newest > math.MaxInt64 || length > MaxRing || s.Acked > s.Newest:
		return fmt.Errorf("ring from %d to %d", s.Oldest, s.Newest)
	case s.Limit < firstRing || s.Limit > MaxRing || s.Limit&(s.Limit-1) != 0 || uint64(s.Limit) < length:
		return fmt.Errorf("ring of at most %d bytes", s.Limit)
	case s.Held < 0 || s.Held > MaxRing || uint64(s.Held) < length || s.Held&(s.Held-1) != 0:
		return fmt.Errorf("ring of %d bytes", s.Held)
	case s.Bytes.Len != int64(length):
		return fmt.Errorf("%d bytes of a ring of %d", s.Bytes.Len, length)
	}
	return nil
}

// Restore makes the jobs of another program this table's, which is new. The processes are adopted
// by the spawner. lost is called for a job with which that cannot be done: it has ended for the
// table, and its process is killed. The caller follows and ends each job that it returns, in a
// goroutine.
func (t *Table) Restore(s *Saved, store Getter, lost func(l Label, pid int, err error)) (running []*Job) {
	for _, saved := range s.Ended {
		j := t.restored(saved)
		if err := j.restoreKept(saved.Kept, store); err != nil {
			lost(saved.Label, saved.PID, err)
			continue
		}
		j.process = proc.Gone(saved.PID)
		t.keep(j)
	}
	for _, saved := range s.Jobs {
		j, err := t.restore(saved, store)
		if err != nil {
			lost(saved.Label, saved.PID, err)
			continue
		}
		running = append(running, j)
	}
	c := &t.counters
	c.started.Store(s.Counts.Started)
	c.failed.Store(s.Counts.Failed)
	c.stdin.Store(s.Counts.Stdin)
	c.stdout.Store(s.Counts.Stdout)
	c.stderr.Store(s.Counts.Stderr)
	return running
}

// restored makes a job of its description.
func (t *Table) restored(s *SavedJob) *Job {
	j := &Job{
		Label: s.Label, table: t, handle: Handle(s.Handle), linger: s.Linger, settled: true, left: true,
		begun: time.Now().Add(s.Begun - proc.Monotonic()),
	}
	j.killed.Store(s.Killed)
	if s.Reason != "" {
		j.reason.Store(&s.Reason)
	}
	j.stdout.taken, j.stderr.taken = s.Stdout, s.Stderr
	j.stdout.cut, j.stderr.cut = s.StdoutCut, s.StderrCut
	return j
}

func (t *Table) restore(s *SavedJob, store Getter) (*Job, error) {
	j := t.restored(s)
	p, err := t.spawner.Adopt(s.Process)
	if err != nil {
		return nil, err
	}
	j.process = p
	if err := j.restoreMore(s, store); err != nil {
		p.Terminate(0)
		return nil, err
	}
	if s.Deadline > 0 {
		j.timeout = s.Deadline - s.Begun
		j.timer = time.AfterFunc(max(0, s.Deadline-proc.Monotonic()), func() { j.Terminate(Timeout, Grace) })
	}
	t.jobs.Add(1)
	t.add(j)
	j.feedLeft()
	return j, nil
}

// restoreMore restores what stands apart, and what outlives the process.
func (j *Job) restoreMore(s *SavedJob, store Getter) error {
	if s.Input.Len > 0 {
		j.input = &suspendedInput{bytes: make([]byte, s.Input.Len), end: s.InputEnd}
		if err := store.Get(s.Input.At, j.input.bytes); err != nil {
			return err
		}
	}
	if s.Kept == nil {
		return nil
	}
	return j.restoreKept(s.Kept, store)
}

func (j *Job) restoreKept(s *SavedKept, store Getter) (err error) {
	k := &kept{Keeping: s.Keeping, settled: make(chan struct{}), over: make(chan struct{}), fed: s.Fed, inputEnd: s.InputEnd, ran: s.Ran, ticks: s.Ticks}
	copy(k.Request[:], s.Request)
	close(k.settled)
	if s.Exit != nil {
		x := s.Exit.Exit
		if s.Exit.Err != "" {
			x.Err = errors.New(s.Exit.Err)
		}
		k.exit = &x
		close(k.over)
	}
	if s.Detach {
		if k.stdout, err = j.table.memory.restore(s.Stdout, store); err != nil {
			return err
		}
		if k.stderr, err = j.table.memory.restore(s.Stderr, store); err != nil {
			k.stdout.drop()
			return err
		}
	}
	if s.Claimed {
		j.table.claim(j, k)
	}
	j.kept = k
	if k.Lease > 0 && k.exit == nil {
		j.startLeaseLocked(min(max(0, s.LeaseEnd-proc.Monotonic()), k.Lease))
	}
	return nil
}

// restore returns a ring that has its memory, whatever the bound is by now.
func (m *memory) restore(s *SavedRing, store Getter) (*ring, error) {
	r := &ring{
		memory: m, limit: s.Limit, block: s.Block, held: s.Held, oldest: s.Oldest, newest: s.Newest, acked: s.Acked,
		ended: s.Ended, loose: s.Loose,
	}
	r.grown.L, r.freed.L = &r.mu, &r.mu
	if s.Screen != nil {
		r.screen = screen.Restore(s.Screen)
	}
	if s.Newest > s.Oldest {
		r.buf = make([]byte, s.Held)
		first := r.partLocked(s.Oldest, s.Newest)
		rest := r.partLocked(s.Oldest+uint64(len(first)), s.Newest)
		if err := store.Get(s.Bytes.At, first); err != nil {
			return nil, err
		}
		if err := store.Get(s.Bytes.At+int64(len(first)), rest); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used += s.Held
	return r, nil
}
