package proc

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"
)

// A Process is a main process and the tree below it.
//
//	running → exited (a zombie) → reaped
//
// Wait blocks until it has exited; Reap ends it. Signal and Terminate may be
// called at any time, from any goroutine.
type Process struct {
	pid int

	stdin          *Input
	stdout, stderr *Output
	terminal       *terminal // nil: none
	nudge          nudge

	notes    []Note      // beside NoteNoCgroup
	noCgroup error       // why there is none, though others have one
	homeErr  error       // why it is not in its home, which is there
	retried  error       // why it did not start at first
	asked    atomic.Bool // Terminate has been called in time

	process // what the operating system needs
}

// PID is the main process's.
func (p *Process) PID() int { return p.pid }

// Stdin is nil if the Spec does not want it, and there is no terminal.
func (p *Process) Stdin() *Input { return p.stdin }

// Stdout is nil if the Spec does not want it, and there is no terminal. A
// terminal's must be copied: a process blocks while nobody reads its terminal.
func (p *Process) Stdout() *Output { return p.stdout }

// Stderr is nil if the Spec does not want it, or there is a terminal.
func (p *Process) Stderr() *Output { return p.stderr }

// NoCgroup says why the process has no cgroup, though the Spawner uses them: its
// tree is found as without. nil: it has one, or none has.
func (p *Process) NoCgroup() error { return p.noCgroup }

// Notes says what is unusual about the process. It is empty as a rule.
func (p *Process) Notes() []Note {
	notes := slices.Clip(p.notes)
	if p.homeErr != nil {
		notes = append(notes, NoteHome)
	}
	if p.noCgroup != nil {
		notes = append(notes, NoteNoCgroup)
	}
	return notes
}

// HomeError says why the process has started in / instead of its user's home. nil: it
// has not, or there is no home.
func (p *Process) HomeError() error { return p.homeErr }

// Retried says why the process did not start at first. nil: it did.
func (p *Process) Retried() error { return p.retried }

// Wait blocks until the main process has exited, or, with [ErrStuck], until
// Terminate has given up on it. It may be called once, and again after [ErrSuspended].
func (p *Process) Wait() error { return p.wait() }

// Drain is called once Wait has returned. All that the outputs hold is copied. Later
// output, of background processes, is copied until it has been silent for [DrainIdle],
// and for linger in all; 0: to its end.
func (p *Process) Drain(linger time.Duration) {
	for _, o := range p.outputs() {
		o.drain(linger)
	}
}

func (p *Process) outputs() (all []*Output) {
	for _, o := range []*Output{p.stdout, p.stderr} {
		if o != nil {
			all = append(all, o)
		}
	}
	return all
}

// Unread returns at least how many bytes of the outputs nobody has read yet.
func (p *Process) Unread() (n int) {
	for _, o := range p.outputs() {
		n += o.waiting()
	}
	return n
}

// Reap takes the zombie away and says how the process ended. It is called once,
// after Wait, when the outputs have been copied. While the tree is being
// terminated, Reap waits until that is done. A process that is stuck is reaped
// when it does end, and until then Reap's answer is [ErrStuck].
func (p *Process) Reap() (Exit, error) { return p.reap() }

// Signal sends sig to the foreground job of the process's terminal, or, if it has
// no terminal, to each process of the tree. If there is nothing in the foreground,
// the main process's group gets it. On Windows INT is Ctrl-C to all that share the
// process's console, and TERM and KILL end the tree. The error wraps [ErrExited] if the process has
// exited, and [ErrInvalid] if there is no such signal.
func (p *Process) Signal(sig Signal) error { return p.signal(sig) }

// Resize changes the size of the process's terminal; its foreground job gets
// SIGWINCH. The error wraps [ErrInvalid] if there is no terminal or no such
// size, and [ErrExited] once the process has been reaped.
func (p *Process) Resize(s Size) error {
	switch {
	case p.terminal == nil:
		return invalidError{errors.New("the process has no terminal")}
	case s.Rows == 0 || s.Cols == 0:
		return invalidError{fmt.Errorf("terminal size %d rows, %d columns: want 1 or more", s.Rows, s.Cols)}
	}
	err := p.terminal.resize(s)
	if errors.Is(err, os.ErrClosed) {
		return ErrExited
	}
	return err
}

// Terminate ends the whole tree, and returns at once. It sends SIGTERM to every
// process, or SIGHUP if they have a terminal, since interactive shells ignore SIGTERM.
// It sends SIGCONT, too, so that a stopped one takes notice. Processes that are left
// after grace get SIGKILL. On Windows there is no grace. A later call can only shorten
// the grace to nothing. After Reap it does nothing.
func (p *Process) Terminate(grace time.Duration) { p.terminate(grace) }

// Terminated says whether Terminate has been called while the main process was
// running. One that exits by itself between that look at it and the first signal
// is not told from one that the signal has ended.
func (p *Process) Terminated() bool { return p.asked.Load() }
