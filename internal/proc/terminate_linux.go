package proc

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// killPatience is how long a tree that has been sent SIGKILL is waited
	// for. Only a process that is stuck in the kernel takes longer.
	killPatience = 5 * time.Second

	pollFirst = time.Millisecond
	pollLast  = 50 * time.Millisecond
)

// ErrExited is returned by Signal when the process has exited.
var ErrExited = errors.New("process has exited")

// Signal sends sig to the foreground job of the process's terminal, or where it
// has none, to each process of the tree.
func (p *Process) Signal(sig syscall.Signal) error {
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
	group := p.terminal.foreground()
	if group == 0 {
		group = p.pid
	}
	return killError(unix.Kill(-group, sig))
}

func killError(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: the process has another user than the agent", ErrNotPermitted)
	}
	return os.NewSyscallError("kill", err)
}

// Terminate ends the whole tree: SIGTERM to every process, or SIGHUP where they
// have a terminal, since interactive shells ignore SIGTERM; and SIGCONT, so that
// a stopped one takes notice; what is left after grace gets SIGKILL. It returns
// at once. A later call can only shorten the grace to nothing. After Reap it
// does nothing.
func (p *Process) Terminate(grace time.Duration) {
	if exited, err := p.poll(unix.WNOHANG); !exited && err == nil {
		p.asked.Store(true)
	}
	if grace <= 0 {
		p.forced.Do(func() { close(p.force) })
	}
	p.terminate.Do(func() { go p.endTree(grace) })
}

// Terminated says whether Terminate has been called while the main process was
// running. One that exits by itself between that look at it and the first signal
// is not told from one that the signal has ended.
func (p *Process) Terminated() bool { return p.asked.Load() }

// endTree is stopped by the end of the tree, or by killPatience; Reap waits for it.
func (p *Process) endTree(grace time.Duration) {
	defer close(p.ended)
	t := p.tree()
	if grace > 0 {
		first := unix.SIGTERM
		if p.terminal != nil {
			first = unix.SIGHUP
		}
		_ = t.signal(first)
		_ = t.signal(unix.SIGCONT)
		if gone(t, grace, p.force) {
			return
		}
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

// A tree finds everything that an exec has started. A cgroup alone would miss
// what has been moved to another, as login sessions are. Zombies do not count.
type tree struct {
	main   *Process
	family family
}

func (p *Process) tree() *tree { return &tree{main: p, family: family{pid: p.pid}} }

// signal sends sig to each process once: to many programs a second SIGTERM is
// an order to drop everything. The error is why none has got it.
func (t *tree) signal(sig syscall.Signal) error {
	pids, _ := t.family.members()
	if t.main.cgroup != nil {
		pids = append(pids, t.main.cgroup.members()...)
	}
	if len(pids) == 0 { // no /proc, or no descriptor to read it by
		return killError(unix.Kill(-t.main.pid, sig))
	}
	slices.Sort(pids)
	var failed error
	sent := false
	for _, pid := range slices.Compact(pids) {
		if err := unix.Kill(pid, sig); err != nil {
			failed = killError(err)
		} else {
			sent = true
		}
	}
	if sent {
		return nil
	}
	return failed
}

func (t *tree) kill() {
	if t.main.cgroup != nil {
		t.main.cgroup.kill()
	}
	_ = unix.Kill(-t.main.pid, unix.SIGKILL)
	_ = t.signal(unix.SIGKILL)
}

func (t *tree) empty() bool {
	exited, err := t.main.poll(unix.WNOHANG)
	return (exited || err != nil) && (t.main.cgroup == nil || t.main.cgroup.empty()) && t.family.empty()
}
