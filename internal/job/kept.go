package job

import (
	"cmp"
	"errors"
	"io"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/screen"
)

// Errors about kept jobs.
var (
	// ErrNoMemory says that the rings of all jobs together hold as much as they may.
	ErrNoMemory = errors.New("no memory is left for the output of detached execs")

	// ErrOtherRequest says that a key is known, but of another request.
	ErrOtherRequest = errors.New("the key belongs to another request")

	// ErrNotDetached says that a job keeps no output.
	ErrNotDetached = errors.New("the exec is not detached: its output is not kept")

	// ErrInput says that a job takes no input, or has somebody who writes it.
	ErrInput = errors.New("no input")

	// ErrRunning says that a job has not ended.
	ErrRunning = errors.New("the exec still runs")
)

// A Keeping says what of a job outlives the connection that has asked for it, besides the
// record of its end. Its zero value keeps nothing, not even that.
type Keeping struct {
	// Detach keeps the end of each output: of Ring bytes, 0 being [DefaultRing], rounded up
	// to a power of two. Block has a full ring hold up the command, until a watcher
	// acknowledges output.
	Detach bool
	Ring   int
	Block  bool

	// Lease is how long a detached job goes on without a watcher. Then it is terminated.
	// 0: for ever.
	Lease time.Duration

	// Key names the job among those of its class, if it is not empty. Request tells
	// requests with the same key apart.
	Key     []byte   `json:",omitempty"`
	Request [32]byte `json:"-"`
}

func (k *Keeping) any() bool { return k.Detach || len(k.Key) > 0 }

// A kept is what a job has that is kept. Its fields do not change after Keep, but for
// those that are said to.
type kept struct {
	Keeping

	stdout, stderr *ring // nil: the job is not detached

	settled chan struct{} // closed when the job has started, or will not

	over chan struct{} // closed when the job has ended and the table has its record
	exit *Exit         // set once, before over is closed
	ran  time.Duration // likewise

	// Guarded by the job's mu.
	fed      bool        // somebody has brought input
	feeding  io.WriterTo // which is being carried; nil: none
	next     io.WriterTo // takes its place; nil: none does
	inputEnd bool        // the input has ended: there will be no more
	watchers int
	lease    *time.Timer   // runs while there are none; nil: it does not, or there is none
	leaseEnd time.Duration // when it is over: see [proc.Monotonic]

	ticks int // age of the record; guarded by the table's mu
}

// startLeaseLocked has the job ended after d.
func (j *Job) startLeaseLocked(d time.Duration) {
	j.kept.leaseEnd = proc.Monotonic() + d
	j.kept.lease = time.AfterFunc(d, j.leaseOver)
}

// Keep has the job kept as k says. It is called once, before Start. The error is
// [ErrNoMemory].
func (j *Job) Keep(k Keeping) error {
	if !k.any() {
		return nil
	}
	kept := &kept{Keeping: k, settled: make(chan struct{}), over: make(chan struct{})}
	if k.Detach {
		limit := cmp.Or(k.Ring, DefaultRing)
		m := &j.table.memory
		if kept.stdout = newRing(m, limit, k.Block); kept.stdout == nil {
			return ErrNoMemory
		}
		if kept.stderr = newRing(m, limit, k.Block); kept.stderr == nil {
			kept.stdout.drop()
			return ErrNoMemory
		}
	}
	if k.Detach && j.TTY {
		kept.stdout.screen = new(screen.Tracker)
	}
	j.kept = kept
	return nil
}

// Detached reports whether the job's output is kept.
func (j *Job) Detached() bool { return j.kept != nil && j.kept.Detach }

// rings calls f with each ring of the job.
func (j *Job) rings(f func(*ring)) {
	if j.Detached() {
		f(j.kept.stdout)
		f(j.kept.stderr)
	}
}

// forget gives back what a job holds that has not started, or whose record goes.
func (j *Job) forget() {
	j.rings(func(r *ring) { _ = r.Close(); r.drop() })
}

// sinks returns the writers for the outputs of the process: the rings of a detached job.
func (j *Job) sinks(s Streams) (stdout, stderr io.WriteCloser) {
	if j.Detached() {
		return j.kept.stdout, j.kept.stderr
	}
	return s.Stdout, s.Stderr
}

// Settled returns a channel that is closed when the kept job has started, or will not start.
func (j *Job) Settled() <-chan struct{} { return j.kept.settled }

// Started reports whether the job, which is settled, has started.
func (j *Job) Started() bool {
	started := false
	j.WhenStarted(func(p *proc.Process) { started = p != nil })
	return started
}

// Exit returns the record of a kept job's end, or nil: it has not ended.
func (j *Job) Exit() *Exit {
	if j.kept == nil {
		return nil
	}
	select {
	case <-j.kept.over:
		return j.kept.exit
	default:
		return nil
	}
}

// Offsets are positions in the outputs of a job: how many bytes come before.
type Offsets struct{ Stdout, Stderr uint64 }

// Kept returns the offsets of the oldest output that is kept, and the end of the output so
// far.
func (j *Job) Kept() (oldest, newest Offsets) {
	if j.Detached() {
		oldest.Stdout, newest.Stdout = j.kept.stdout.bounds()
		oldest.Stderr, newest.Stderr = j.kept.stderr.bounds()
	}
	return oldest, newest
}

// Acknowledge lets a full ring that holds up the command drop the bytes before to.
func (j *Job) Acknowledge(to Offsets) {
	if j.Detached() {
		j.kept.stdout.ack(to.Stdout)
		j.kept.stderr.ack(to.Stderr)
	}
}
