package job

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
)

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
			w.job.startLeaseLocked(k.Lease)
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
