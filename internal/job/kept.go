package job

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
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
	Key     []byte
	Request [32]byte
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
	lease    *time.Timer // runs while there are none; nil: it does not, or there is none

	ticks int // age of the record; guarded by the table's mu
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

// Feed carries input to a kept job that has started, as its first streams' Stdin is. It
// takes the place of whoever has fed the job so far, or was to. The error is [ErrInput] if the
// command takes no input. Feed does not wait.
func (j *Job) Feed(stdin io.WriterTo) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch k := j.kept; {
	case j.process.Stdin() == nil:
		return fmt.Errorf("%w: the exec was started without stdin", ErrInput)
	case k.inputEnd:
		return fmt.Errorf("%w: the exec's stdin has ended", ErrInput)
	default:
		j.feedNextLocked(stdin)
		return nil
	}
}

// feedFirst is Feed for the stream that came with the request, unless another one has come
// since the start.
func (j *Job) feedFirst(stdin io.WriterTo) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.kept.fed {
		discard(stdin)
		return
	}
	j.feedNextLocked(stdin)
}

// feedNextLocked has the goroutine that feeds the job go on with stdin, or starts it.
func (j *Job) feedNextLocked(stdin io.WriterTo) {
	k := j.kept
	discard(k.feeding)
	discard(k.next)
	k.next, k.fed = stdin, true
	if k.feeding == nil {
		k.feeding, k.next = k.next, nil
		j.table.jobs.Add(1)
		go j.feedKept(k.feeding) // stopped by the end of the stream; Table.Wait waits for it
	}
}

// feedKept carries one stream after the other to the job.
func (j *Job) feedKept(stdin io.WriterTo) {
	defer j.table.jobs.Done()
	for stdin != nil {
		if j.Detached() && j.TTY {
			j.feed(typist{stdin})
		} else {
			j.feed(stdin)
		}
		stdin = j.nextFeeding()
	}
}

func (j *Job) nextFeeding() io.WriterTo {
	j.mu.Lock()
	defer j.mu.Unlock()
	k := j.kept
	if k.inputEnd {
		discard(k.next)
		k.next = nil
	}
	k.feeding, k.next = k.next, nil
	return k.feeding
}

// discard has the WriteTo of a stream fail, if there is one.
func discard(from io.WriterTo) {
	if d, ok := from.(interface{ Discard() }); ok {
		d.Discard()
	}
}

// typedEnd is what is typed into a detached terminal at the end of one host's input: the
// end-of-file character of most.
const typedEnd = 0x04

// A typist is the input of one host for a detached terminal. Its end is typed once, and is
// not the end of the terminal's: another host may type on.
type typist struct{ io.WriterTo }

var errOtherTypists = errors.New("other hosts may type")

func (t typist) WriteTo(w io.Writer) (int64, error) {
	n, err := t.WriterTo.WriteTo(w)
	if err == nil {
		_, _ = w.Write([]byte{typedEnd})
		err = errOtherTypists
	}
	return n, err
}

// endInput takes note that the command has been told of the end of its input.
func (j *Job) endInput() {
	if j.kept == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.kept.inputEnd = true
}

// A Watcher carries the outputs of a detached job to one host. Wait and Leave may be
// called at the same time.
type Watcher struct {
	job            *Job
	stdout, stderr *reader // nil: not wanted
	before         []byte  // goes to stdout first, to restore a screen
	nudge          bool    // the program is to draw

	leaving sync.Once
	left    chan struct{} // closed by Leave
}

// A From says where a Watcher begins: at the offsets, or with the oldest output that is
// kept, or with what the command writes next.
type From struct {
	Offsets
	Oldest, Now bool

	// Redraw restores the screen of a terminal first, and begins with the next output: the
	// rest is then ignored. Empty: it does not, nor without a terminal.
	Redraw Redraw
}

// A Redraw says how the screen of a terminal is restored.
type Redraw string

// The ways to restore a screen.
const (
	RedrawAuto   Redraw = "auto"   // winch on the alternate screen, else replay
	RedrawReplay Redraw = "replay" // the last output from the beginning of a line, and the modes
	RedrawWinch  Redraw = "winch"  // the modes, and the program draws: see [Watcher.Nudge]
)

// Watch returns a Watcher, which begins at from. The caller calls Leave. An output that is
// not wanted is not carried. The error is a [*BehindError] or [ErrNotDetached].
func (j *Job) Watch(from From, stdout, stderr bool) (*Watcher, error) {
	if j.kept == nil || (stdout || stderr) && !j.Detached() {
		return nil, ErrNotDetached
	}
	w := &Watcher{job: j, left: make(chan struct{})}
	var behind *BehindError
	switch {
	case stdout && j.TTY && from.Redraw != "":
		w.stdout, w.before, w.nudge = j.kept.stdout.redrawer(from.Redraw)
	case stdout:
		if w.stdout, behind = j.kept.stdout.reader(from, from.Stdout); behind != nil {
			return nil, behind
		}
	}
	if stderr {
		if w.stderr, behind = j.kept.stderr.reader(from, from.Stderr); behind != nil {
			if w.stdout != nil {
				w.stdout.leave()
			}
			behind.Stderr = true
			return nil, behind
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.kept.watchers++
	if j.kept.lease != nil {
		j.kept.lease.Stop()
	}
	return w, nil
}

// FirstOffsets returns the offsets at which the outputs begin that the Watcher carries.
func (w *Watcher) FirstOffsets() (from Offsets) {
	if w.stdout != nil {
		from.Stdout = w.stdout.begin
	}
	if w.stderr != nil {
		from.Stderr = w.stderr.begin
	}
	return from
}

// Before returns how many bytes come on stdout before the output, to restore a screen.
func (w *Watcher) Before() int { return len(w.before) }

// Nudge has the program draw its screen, if that is to restore it. It does not wait.
func (w *Watcher) Nudge() {
	if w.nudge {
		w.job.process.Nudge()
	}
}

// ErrLeft is returned by [Watcher.Wait] after Leave.
var ErrLeft = errors.New("the watcher has left")

// Wait carries the outputs, closes each of s when that output has ended, and returns the
// record of the job's end. The error is [ErrLeft], or a [*BehindError] if the host has taken
// output so slowly that the ring has dropped what comes next. A stream that fails is not
// written to any more, and does not end Wait.
func (w *Watcher) Wait(s Streams) (*Exit, error) {
	var behind [2]error
	var carrying sync.WaitGroup
	carrying.Go(func() { behind[0] = w.carry(w.stdout, s.Stdout, w.before) }) // stopped by the output's end, or Leave
	behind[1] = w.carry(w.stderr, s.Stderr, nil)
	carrying.Wait()
	for i, err := range behind {
		if b, ok := errors.AsType[*BehindError](err); ok {
			b.Stderr = i == 1
			return nil, b
		}
	}
	select {
	case <-w.job.kept.over:
		return w.job.kept.exit, nil
	case <-w.left:
		return nil, ErrLeft
	}
}

var (
	littleBuffers = sync.Pool{New: func() any { b := make([]byte, littleCarried); return &b }}
	muchBuffers   = sync.Pool{New: func() any { b := make([]byte, muchCarried); return &b }}

	much atomic.Int32 // readers that have one of muchBuffers
)

// carryBuffer returns a buffer, and what gives it back.
func carryBuffer() (b []byte, free func()) {
	buffers, count := &muchBuffers, &much
	if much.Add(1) > maxMuch {
		much.Add(-1)
		buffers, count = &littleBuffers, new(atomic.Int32)
	}
	p := buffers.Get().(*[]byte)
	return *p, func() {
		buffers.Put(p)
		count.Add(-1)
	}
}

// carry carries one output, after the bytes before it. A silent output holds no buffer.
func (w *Watcher) carry(from *reader, to io.WriteCloser, before []byte) error {
	if from == nil && to != nil {
		_ = to.Close() // nothing of it is kept
	}
	if from == nil {
		return nil
	}
	if len(before) > 0 {
		if _, err := to.Write(before); err != nil {
			from.leave()
			return err
		}
	}
	for {
		from.wait()
		done, err := pass(from, to)
		switch _, behind := errors.AsType[*BehindError](err); {
		case behind:
			w.Leave() // the other output, too
			return err
		case err != nil:
			from.leave()
			return err
		case done:
			_ = to.Close()
			return nil
		}
	}
}

// pass carries what there is.
func pass(from *reader, to io.Writer) (done bool, err error) {
	b, free := carryBuffer()
	defer free()
	n, done, err := from.next(b)
	if n > 0 {
		_, err = to.Write(b[:n])
	}
	return done, err
}

// Leave ends Wait. It does not wait, and is idempotent.
func (w *Watcher) Leave() {
	w.leaving.Do(func() {
		close(w.left)
		for _, r := range []*reader{w.stdout, w.stderr} {
			if r != nil {
				r.leave()
			}
		}
		w.job.mu.Lock()
		defer w.job.mu.Unlock()
		k := w.job.kept
		k.watchers--
		if k.watchers == 0 && k.Lease > 0 && w.job.Exit() == nil {
			k.lease = time.AfterFunc(k.Lease, w.job.leaseOver)
		}
	})
}

// leaseOver ends a job that nobody watches.
func (j *Job) leaseOver() {
	j.mu.Lock()
	over := j.kept.watchers == 0
	j.mu.Unlock()
	if over {
		j.Terminate(Killed, Grace)
	}
}

// A keyName is a key among those of all classes.
type keyName struct{ class, key string }

// Claim makes the job the one that its key names, or returns the job that the key names
// already. It is called after Keep, before Start. The error is [ErrOtherRequest].
func (j *Job) Claim() (known *Job, err error) {
	if j.kept == nil || len(j.kept.Key) == 0 {
		return nil, nil //nolint:nilnil // no other job is known
	}
	t := j.table
	t.mu.Lock()
	defer t.mu.Unlock()
	name := keyName{j.Class, string(j.kept.Key)}
	switch known = t.keys[name]; {
	case known == nil:
		t.keys[name] = j
		return nil, nil //nolint:nilnil // likewise
	case !bytes.Equal(known.kept.Request[:], j.kept.Request[:]):
		return nil, ErrOtherRequest
	default:
		return known, nil
	}
}

// ForgetKeys has no key name a job any more. The jobs go on.
func (t *Table) ForgetKeys() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.keys)
}

// unclaim frees the job's key, if it has it.
func (t *Table) unclaim(j *Job) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unclaimLocked(j)
}

func (t *Table) unclaimLocked(j *Job) {
	if j.kept == nil || len(j.kept.Key) == 0 {
		return
	}
	name := keyName{j.Class, string(j.kept.Key)}
	if t.keys[name] == j {
		delete(t.keys, name)
	}
}
