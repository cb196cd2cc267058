package proc

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Process is a main process and the tree below it.
//
//	running → exited (a zombie) → reaped
//
// Wait blocks until it has exited; Reap ends it. Signal and Terminate may be
// called at any time, from any goroutine.
type Process struct {
	pid     int
	pidfd   *os.File // nil: a kernel without pidfd
	spawner *Spawner
	cgroup  *cgroup // nil: none

	noCgroup error // why there is none, where others have one

	stdin          *Input
	stdout, stderr *Output
	terminal       *terminal // nil: none

	terminate sync.Once
	force     chan struct{} // closed: no grace any more
	forced    sync.Once
	ended     chan struct{} // closed when the tree has been terminated
	asked     atomic.Bool   // Terminate has been called in time

	mu     sync.Mutex
	reaped bool // the pid may belong to another process
}

// watch begins the life of a process that has been started.
func (p *Process) watch(pidfd int) {
	p.force, p.ended = make(chan struct{}), make(chan struct{})
	if pidfd < 0 {
		return
	}
	if err := unix.SetNonblock(pidfd, true); err != nil {
		_ = unix.Close(pidfd)
		return
	}
	p.pidfd = os.NewFile(uintptr(pidfd), "pidfd")
}

// PID is the main process's.
func (p *Process) PID() int { return p.pid }

// Stdin is nil where the Spec does not want it, and there is no terminal.
func (p *Process) Stdin() *Input { return p.stdin }

// Stdout is nil where the Spec does not want it, and there is no terminal. A
// terminal's must be copied: a process blocks while nobody reads its terminal.
func (p *Process) Stdout() *Output { return p.stdout }

// Stderr is nil where the Spec does not want it, or there is a terminal.
func (p *Process) Stderr() *Output { return p.stderr }

// NoCgroup says why the process has no cgroup, though the Spawner uses them: its
// tree is found as without. nil: it has one, or none has.
func (p *Process) NoCgroup() error { return p.noCgroup }

// ErrStuck says that the main process has not ended though it has been sent
// SIGKILL: it is stuck in the kernel, or frozen.
var ErrStuck = fmt.Errorf("the process did not exit within %v of SIGKILL", killPatience)

// Wait blocks until the main process has exited, or, with [ErrStuck], until
// Terminate has given up on it. It may be called once.
func (p *Process) Wait() error {
	if p.pidfd == nil {
		return p.waitBlocking()
	}
	defer p.pidfd.Close()
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return p.waitBlocking()
	}
	var waitErr error
	err = raw.Read(func(uintptr) bool {
		var exited bool
		exited, waitErr = p.poll(unix.WNOHANG)
		return exited || waitErr != nil
	})
	if errors.Is(err, os.ErrDeadlineExceeded) { // giveUp
		if exited, err := p.poll(unix.WNOHANG); exited || err != nil {
			return err
		}
		return ErrStuck
	}
	if err != nil {
		return p.waitBlocking() // the runtime's poller has not taken the pidfd
	}
	return waitErr
}

// giveUp wakes Wait, where the main process has not exited.
func (p *Process) giveUp() {
	if p.pidfd != nil {
		_ = p.pidfd.SetReadDeadline(time.Unix(1, 0))
	}
}

// waitBlocking costs a thread, and cannot be woken.
func (p *Process) waitBlocking() error {
	_, err := p.poll(0)
	return err
}

// poll says whether the main process has exited, and leaves its zombie.
func (p *Process) poll(options int) (bool, error) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, p.pid, &info, unix.WEXITED|unix.WNOWAIT|options, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err == nil && info.Signo != 0, os.NewSyscallError("waitid", err)
	}
}

// Drain is called once Wait has returned: output that is still open is copied
// until it has been silent for [DrainIdle].
func (p *Process) Drain() {
	for _, o := range []*Output{p.stdout, p.stderr} {
		if o != nil {
			o.drain()
		}
	}
}

// Reap takes the zombie away and says how the process ended. It is called once,
// after Wait, when the outputs have been copied. Where the tree is being
// terminated, Reap waits until that is done. A process that is stuck is reaped
// when it does end, and until then Reap's answer is [ErrStuck].
func (p *Process) Reap() (Exit, error) {
	if p.stdin != nil {
		_ = p.stdin.file.Close()
	}
	if p.terminal != nil {
		p.spawner.terminals.fill() // with the one that is free now, for instance
	}
	outOfMemory := p.outOfMemory()
	p.settle()
	e, err := p.reap()
	if errors.Is(err, ErrStuck) {
		go p.reapLate() // ends when the process does; nobody waits for it
	}
	e.OOMKilled = outOfMemory && e.Signal == int(unix.SIGKILL)
	return e, err
}

func (p *Process) reap() (Exit, error) {
	var status unix.WaitStatus
	var usage unix.Rusage
	p.mu.Lock()
	pid, err := own.reap(p.pid, &status, &usage)
	if pid == 0 && err == nil {
		p.mu.Unlock()
		return Exit{}, ErrStuck
	}
	p.reaped = true
	p.mu.Unlock()
	own.sweep(false)
	p.giveCgroup()
	if err != nil {
		return Exit{}, os.NewSyscallError("wait4", err)
	}
	return exitOf(status, usage), nil
}

func (p *Process) reapLate() {
	_ = p.waitBlocking()
	_, _ = p.reap()
}

// settle sees to it that no termination is under way, nor can begin any more.
func (p *Process) settle() {
	p.terminate.Do(func() { close(p.ended) })
	<-p.ended
}

func wait4(pid int, status *unix.WaitStatus, usage *unix.Rusage) (int, error) {
	for {
		got, err := unix.Wait4(pid, status, unix.WNOHANG, usage)
		if !errors.Is(err, unix.EINTR) {
			return got, err
		}
	}
}

func exitOf(status unix.WaitStatus, usage unix.Rusage) Exit {
	e := Exit{
		Code:       status.ExitStatus(),
		CoreDumped: status.CoreDump(),
		UserTime:   time.Duration(usage.Utime.Nano()),
		SystemTime: time.Duration(usage.Stime.Nano()),
		MaxRSS:     usage.Maxrss << 10,
	}
	if status.Signaled() {
		e.Signal = int(status.Signal())
		e.SignalName = SignalName(syscall.Signal(e.Signal))
	}
	return e
}

func (p *Process) giveCgroup() {
	if p.cgroup != nil {
		p.spawner.cgroups.give(p.cgroup)
	}
}
