// Package job runs commands apart from the connections that ask for them.
//
// A [Job] is one command: its process, the destination of its output, and the record of
// its end. A [Table] has the jobs of an agent by their handles. A connection watches
// the jobs that it has begun, and can leave one while the command runs on. The package
// knows neither the wire format nor the multiplexer, and writes no log.
package job

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// Grace is how long a process tree has between SIGTERM and SIGKILL.
const Grace = 5 * time.Second

// Linger is how long output is read after the end of the main process if nothing else is
// asked for.
const Linger = 10 * time.Second

// A Label describes a job to people, and says whose it is.
type Label struct {
	Class   string // of the hosts that see it
	Command string // the name of the program
	Args    int    // how many arguments it has, with its name
	User    string // as it was asked for; empty: the agent's own
	TTY     bool
	Keep    bool // it runs on if nobody watches it

	Peer    string // the name of the host that has asked for it
	Request uint64 // the number of the request
}

// A Job is one command. It is safe for concurrent use.
//
//	new → started (Start) → announced (Announce) → exited (Carry, Await) → ended (End)
//	new → refused (Start, Refuse)
//
// The maker of a Job moves it on, on one goroutine at a time. The other methods may be
// called at any time, PID, Notes and State only once it has started.
type Job struct {
	Label

	table   *Table
	handle  Handle
	begun   time.Time
	timeout time.Duration // 0: none
	linger  time.Duration // see [proc.Process.Drain]
	timer   *time.Timer   // nil: none, or not started
	process *proc.Process // set by Start

	killed atomic.Bool            // somebody has asked for it
	reason atomic.Pointer[Reason] // why it was ended first; nil: it was not

	stdout, stderr output
	pumps          sync.WaitGroup // what carries the outputs
	feeds          atomic.Int32   // goroutines that carry input

	mu        sync.Mutex
	settled   bool   // announced or refused: what waited has been called
	cancel    func() // ends a start that is under way; nil: none is
	abandoned bool   // Abandon was called
	waiting   []func(*proc.Process)
	left      bool            // nobody watches it any more
	input     *suspendedInput // was sent, and the process has not taken it; nil: there is none

	kept *kept // set by Keep, before Start; nil: nothing of the job outlives its end
}

// Handle returns the job's name.
func (j *Job) Handle() Handle { return j.handle }

// Begun returns when the job was made.
func (j *Job) Begun() time.Time { return j.begun }

// PID returns the pid of the main process.
func (j *Job) PID() int { return j.process.PID() }

// NoCgroup returns why the process has no cgroup: see [proc.Process.NoCgroup].
func (j *Job) NoCgroup() error { return j.process.NoCgroup() }

// HomeError returns why the process is not in its home: see [proc.Process.HomeError].
func (j *Job) HomeError() error { return j.process.HomeError() }

// Retried returns why the process did not start at first: see [proc.Process.Retried].
func (j *Job) Retried() error { return j.process.Retried() }

// Notes returns what is unusual about the process.
func (j *Job) Notes() []proc.Note { return j.process.Notes() }

// Start starts the process, and the job's time begins to run. It blocks until the process
// is the command, which may hang, or until the job is ended. If it fails then nothing
// runs, and the job is refused. The error is the spawner's, or a [*StartError].
func (j *Job) Start(spec proc.Spec) error {
	if j.timeout > 0 {
		j.timer = time.AfterFunc(j.timeout, func() { j.Terminate(Timeout, Grace) })
	}
	err := j.start(spec)
	hung, _ := errors.AsType[*StartError](err)
	switch {
	case err == nil:
	case hung != nil && hung.Hung != nil && hung.Hung.PID != 0: // it may become the command yet: its key stays known
		j.refuse()
	default:
		j.Refuse()
	}
	return err
}

func (j *Job) start(spec proc.Spec) (err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	j.setCancel(cancel)
	defer j.setCancel(nil)
	if r := j.reason.Load(); r != nil {
		return &StartError{Reason: *r}
	}
	j.process, err = j.table.spawner.StartContext(ctx, spec)
	if hung, ok := errors.AsType[*proc.HungError](err); ok {
		failed := &StartError{Reason: Killed, Hung: hung} // Abandon gives no reason
		if r := j.reason.Load(); r != nil {
			failed.Reason = *r
		}
		return failed
	}
	return err
}

func (j *Job) setCancel(cancel func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.cancel = cancel
	if cancel != nil && j.abandoned {
		time.AfterFunc(Grace, cancel)
	}
}

// cancelStart ends a start that is under way.
func (j *Job) cancelStart() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.cancel != nil {
		j.cancel()
	}
}

// Abandon ends a start that is still under way after Grace. It does nothing to a process
// that is the command by then. It does not wait.
func (j *Job) Abandon() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.abandoned = true
	if j.cancel != nil {
		time.AfterFunc(Grace, j.cancel)
	}
}

// Withdraw ends a job that was made and is not wanted: another one has its key.
func (j *Job) Withdraw() {
	j.forget()
	j.settle(nil)
	j.table.jobs.Done()
}

// Refuse ends a job that is not to be started, and tells what waits for it.
func (j *Job) Refuse() {
	j.table.unclaim(j)
	j.refuse()
}

// refuse is Refuse that keeps the key.
func (j *Job) refuse() {
	if j.timer != nil {
		j.timer.Stop()
	}
	j.table.counters.failed.Add(1)
	j.forget()
	j.settle(nil)
	j.table.jobs.Done()
}

// Announce makes the job known: the table has it, and what has waited for it is called.
func (j *Job) Announce() {
	j.table.counters.started.Add(1)
	j.table.add(j)
	j.settle(j.process)
}

// Starting reports whether the job has neither started nor been refused.
func (j *Job) Starting() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.settled
}

// Crowded says whether as many requests wait for the job to start as may.
func (j *Job) Crowded() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return !j.settled && (len(j.waiting) >= MaxWaiting || j.table.waiting.Load() >= maxAllWaiting)
}

// WhenStarted calls f with the process once the job has been announced, or with nil
// once it has been refused. That may be at once, or later on another goroutine. f must
// not block.
func (j *Job) WhenStarted(f func(*proc.Process)) {
	j.mu.Lock()
	if !j.settled {
		j.waiting = append(j.waiting, f)
		j.table.waiting.Add(1)
		j.mu.Unlock()
		return
	}
	j.mu.Unlock()
	f(j.process)
}

// settle calls what waits with p.
func (j *Job) settle(p *proc.Process) {
	j.mu.Lock()
	j.settled = true
	if j.kept != nil {
		close(j.kept.settled)
	}
	waiting := j.waiting
	j.waiting = nil
	j.table.waiting.Add(-int64(len(waiting)))
	j.mu.Unlock()
	for _, f := range waiting {
		f(p)
	}
}

// Terminate ends the process tree: see [proc.Process.Terminate]. A process that is not the
// command yet is killed. If Terminate is called more than once then the first reason
// counts. It does not wait.
func (j *Job) Terminate(reason Reason, grace time.Duration) {
	j.reason.CompareAndSwap(nil, &reason)
	j.cancelStart()
	j.rings((*ring).loosen)
	j.WhenStarted(func(p *proc.Process) {
		if p != nil {
			p.Terminate(grace)
		}
	})
}

// Kill is Terminate because somebody has asked for it. It says whether nobody had
// before.
func (j *Job) Kill(grace time.Duration) (first bool) {
	first = !j.killed.Swap(true)
	j.Terminate(Killed, grace)
	return first
}

// Leave has nobody watch the job any more: its output is thrown away from now on, unless
// the job is detached.
// Whether it is ended as well is its owner's decision. Leave does not wait for a write
// to a stream that blocks.
func (j *Job) Leave() {
	if !j.Detached() {
		j.stdout.leave()
		j.stderr.leave()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.left = true
}

// End takes the job out of its table, which does not wait for it any more, and keeps x, how
// it ended, if the job is kept. It is called once.
func (j *Job) End(x *Exit) {
	if j.kept != nil {
		j.conclude(x)
	} else {
		j.table.remove(j)
	}
	j.table.jobs.Done()
}

// Check takes the lock that every request about the job needs.
func (j *Job) Check() {
	j.mu.Lock()
	defer j.mu.Unlock() //nolint:gocritic // staticcheck rejects an empty critical section
}

// State returns what a list of jobs says of this one.
func (j *Job) State() State {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := State{
		Label: j.Label, Handle: j.handle, PID: j.process.PID(), Watched: !j.left,
		Running: time.Since(j.begun),
	}
	if k := j.kept; k != nil {
		s.Detached = k.Detach
		s.Input = j.process.Stdin() != nil && !j.inputEndedLocked() && j.Exit() == nil
		if s.Exit = j.Exit(); s.Exit != nil {
			s.Running = k.ran
		}
		s.Oldest, s.Newest = j.Kept()
		if k.Detach {
			s.Watched = k.watchers > 0
		}
	}
	return s
}
