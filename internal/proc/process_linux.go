package proc

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc/cgroup"
)

// A process is Linux's part of a [Process].
type process struct {
	pidfd   *os.File // nil: a kernel without pidfd
	spawner *Spawner
	cgroup  *cgroup.Group // nil: none

	ending sync.Once
	force  chan struct{} // closed: no grace any more
	forced sync.Once
	ended  chan struct{} // closed when the tree has been terminated
	killAt atomic.Int64  // when it is killed that is being terminated, in nanoseconds of [monotonic]; 0: it is not

	telling   sync.Mutex  // held while the tree gets the signals that ask it to end, and while the process is suspended
	told      bool        // it has got them. Guarded by telling
	gaveUp    atomic.Bool // giveUp was called
	suspended atomic.Bool

	mu     sync.Mutex
	reaped bool // the pid may belong to another process
}

func (p *Process) wait() error {
	if p.pidfd == nil {
		return p.waitBlocking()
	}
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
	if errors.Is(err, os.ErrDeadlineExceeded) { // giveUp's, or suspend's
		exited, err := p.poll(unix.WNOHANG)
		switch {
		case exited, err != nil:
			return err
		case p.gaveUp.Load():
			return ErrStuck
		default:
			return ErrSuspended
		}
	}
	if err != nil {
		return p.waitBlocking() // the runtime's poller has not taken the pidfd
	}
	return waitErr
}

// giveUp wakes Wait, if the main process has not exited.
func (p *Process) giveUp() {
	p.gaveUp.Store(true)
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

func (p *Process) reap() (Exit, error) {
	if p.pidfd != nil {
		_ = p.pidfd.Close()
	}
	if p.stdin != nil {
		_ = p.stdin.file.Close()
	}
	if p.terminal != nil {
		p.spawner.terminals.fill() // with the one that is free now, for instance
	}
	outOfMemory := p.outOfMemory()
	p.settle()
	e, err := p.collect()
	if errors.Is(err, ErrStuck) {
		go p.reapLate() // ends when the process does; nobody waits for it
	}
	e.OOMKilled = outOfMemory && e.Signal == int(unix.SIGKILL)
	return e, err
}

// collect takes the zombie away and gives the cgroup back.
func (p *Process) collect() (Exit, error) {
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
	_, _ = p.collect()
}

// settle sees to it that no termination is under way, nor can begin any more.
func (p *Process) settle() {
	p.ending.Do(func() { close(p.ended) })
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
		e.SignalName = signalName(syscall.Signal(e.Signal))
	}
	return e
}

func (p *Process) giveCgroup() {
	if p.cgroup != nil {
		p.spawner.cgroups.Give(p.cgroup)
	}
}
