package proc

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	pollFirst = time.Millisecond
	pollLast  = 50 * time.Millisecond
)

func (p *Process) signal(sig Signal) error {
	number, err := signalNumber(string(sig))
	if err != nil {
		return err
	}
	return p.send(number)
}

func (p *Process) send(sig syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reaped {
		return ErrExited
	}
	if exited, err := p.poll(unix.WNOHANG); exited || err != nil {
		return errors.Join(err, ErrExited)
	}
	if p.terminal == nil {
		return p.tree().signal(sig)
	}
	return p.signalJob(p.terminal.foreground(), sig)
}

// signalGroup sends sig to the main process's group. That group cannot be a
// stranger's: its number is the main process's pid, which nobody else can have
// until it has been reaped. So the caller holds p.mu and has seen that p is not
// reaped, or is endTree, which Reap waits for.
func (p *Process) signalGroup(sig syscall.Signal) error {
	return killError(unix.Kill(-p.pid, sig))
}

func killError(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: the process runs as a different user than the agent", ErrNotPermitted)
	}
	if scarce(err) {
		return fmt.Errorf("%w: signal: %w", ErrResources, err)
	}
	return os.NewSyscallError("kill", err)
}

func (p *Process) terminate(grace time.Duration) {
	if grace <= 0 {
		p.forced.Do(func() { close(p.force) })
	}
	p.ending.Do(func() { p.begin(grace) })
}

// begin starts the end of the tree. While it looks at the main process, Reap
// waits for p.ending; afterwards it is not called any more. So the pid is not
// yet another child's.
func (p *Process) begin(grace time.Duration) {
	if exited, err := p.poll(unix.WNOHANG); !exited && err == nil {
		p.asked.Store(true)
	}
	p.killAt.Store(max(1, int64(monotonic()+grace)))
	go p.endTree(grace)
}

// endTree is stopped by the end of the tree, or by killPatience; Reap waits for it.
func (p *Process) endTree(grace time.Duration) {
	defer close(p.ended)
	defer p.cut()
	t := p.tree()
	if grace > 0 {
		p.tell(t)
	}
	if grace > 0 && gone(t, grace, p.force) {
		return
	}
	t.kill()
	for deadline := time.Now().Add(killPatience); time.Now().Before(deadline); {
		if gone(t, 10*pollLast, nil) {
			return
		}
		t.kill() // what forked while it was being killed
	}
	p.giveUp()
}

// tell sends the signals that ask the tree to end, unless it has got them.
func (p *Process) tell(t *tree) {
	p.telling.Lock()
	defer p.telling.Unlock()
	if p.told {
		return
	}
	first := unix.SIGTERM
	if p.terminal != nil {
		first = unix.SIGHUP
	}
	_ = t.signal(first)
	_ = t.signal(unix.SIGCONT)
	p.told = true
}

// cut bounds how long what has left the tree may hold the outputs.
func (p *Process) cut() {
	for _, o := range p.outputs() {
		o.shorten(DrainIdle)
		if o.draining.Load() {
			o.drain(0)
		}
	}
}

// gone waits until t is empty, for at most d or until hurry is closed.
func gone(t *tree, d time.Duration, hurry <-chan struct{}) bool {
	deadline := time.NewTimer(d)
	defer deadline.Stop()
	for wait := pollFirst; ; wait = min(2*wait, pollLast) {
		if t.empty() {
			return true
		}
		next := time.NewTimer(wait)
		select {
		case <-next.C:
		case <-hurry:
			next.Stop()
			return t.empty()
		case <-deadline.C:
			next.Stop()
			return t.empty()
		}
	}
}
