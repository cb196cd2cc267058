package clone

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// shortTime is how long a start looks after itself. After that it is looked at with
	// the others: see held.
	shortTime = 10 * time.Millisecond

	// killTime is how long a child is waited for that has been sent SIGKILL.
	killTime = 5 * time.Second
)

type engine struct {
	config Config
	way    Way
	why    error // why not a better one
	thread thread

	slots    slots
	low      lowFiles
	dumpable *os.File // /proc/sys/fs/suid_dumpable; nil: it cannot be read
	held     held

	killTime time.Duration

	movesIn  atomic.Bool // children are not started in their cgroups
	noClone3 atomic.Bool // of syscall.ForkExec: it fails with a cgroup, or movesIn
}

func open(c Config) *Engine {
	e := &Engine{engine{config: c, thread: currentThread(), killTime: killTime}}
	e.held.engine = &e.engine
	e.way, e.why = c.Way, nil
	if c.Way == 0 {
		e.way, e.why = bestWay()
	}
	e.low.null = -1
	if e.way == Table {
		e.low.open()
	}
	if e.way != Fork {
		e.dumpable, _ = os.Open("/proc/sys/fs/suid_dumpable")
	}
	return e
}

// bestWay tries the ways once, with a real child: a filter may answer for the kernel.
var bestWay = sync.OnceValues(func() (Way, error) {
	var e engine
	e.way, e.low.null = Table, -1
	s, err := newSlot(slotSize)
	if err != nil {
		return Fork, err
	}
	s.reset(2)
	s.call("close_range", unix.SYS_CLOSE_RANGE, lowLimit, ^uintptr(0)>>32, unix.CLOSE_RANGE_UNSHARE)
	s.call("exit_group", unix.SYS_EXIT_GROUP, 0)
	pid, errno := s.clone(nil, true)
	if errno != 0 {
		s.unmap()
		return Fork, os.NewSyscallError("clone3", errno)
	}
	pidfd := newPidFD(int(s.header().pidfd))
	defer pidfd.Close()
	if !exits(pidfd, killTime) {
		_ = signal(pidfd, unix.SIGKILL)
		return Fork, errors.New("clone3: the child hangs") // and has the slot
	}
	defer s.unmap()
	for {
		if _, err := unix.Wait4(pid, nil, 0, nil); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	switch {
	case s.current() < 0:
		return Fork, errors.New("clone3: the child was killed before its first step")
	case s.errno(0) != 0:
		return Copied, os.NewSyscallError("close_range", s.errno(0))
	}
	return Table, nil
})

func (e *engine) moveIn() bool {
	e.noClone3.Store(true)
	return !e.movesIn.Swap(true)
}

func (e *engine) close() error {
	e.slots.close()
	e.low.close()
	if e.dumpable != nil {
		return e.dumpable.Close()
	}
	return nil
}

// A start is one child, from clone3 to its execve or its end.
type start struct {
	*table
	pidfd *os.File      // of the child
	door  int           // cgroup.procs of the child's cgroup, to move there; -1: it begins there
	low   int           // the first of its low descriptors; -1: none, or given back
	of    *User         // nil: no other user
	end   chan struct{} // closed by held: the child has given the memory up

	looks     int  // by held
	abandoned bool // held deals with the end. Guarded by held.mu
}

func (e *engine) start(ctx context.Context, r *Request) (*Child, error) {
	if e.way == Fork {
		return e.fork(r)
	}
	s, err := e.begin(r)
	if err != nil {
		return nil, err
	}
	if !s.watch() {
		if err := e.held.wait(ctx, s); err != nil {
			return nil, err
		}
	}
	return e.finish(s)
}

// watch waits until the child has given the memory up, for at most shortTime. It says
// whether it has. The pidfd wakes it if the child ends; else it looks now and then.
func (s *start) watch() bool {
	raw, err := s.pidfd.SyscallConn()
	if err != nil {
		return false
	}
	defer func() { _ = s.pidfd.SetReadDeadline(time.Time{}) }()
	for begun := time.Now(); time.Since(begun) < shortTime; {
		if s.pidfd.SetReadDeadline(time.Now().Add(lookFirst)) != nil {
			return false // the poller has not taken it
		}
		err := raw.Read(func(uintptr) bool { return s.left() })
		if err == nil || s.left() {
			return true
		}
	}
	return false
}

// apart says whether a child of another user gets a copy of this program's memory. If
// fs.suid_dumpable is not 0, the change of user makes memory dumpable for a moment. Other
// children, which are their users' already, would then be open to ptrace(2). A SIGQUIT to
// one would dump core, and before Linux 5.16 end this program too. See proc_sys_fs(5).
func (e *engine) apart() bool {
	if e.dumpable == nil {
		return false
	}
	var text [1]byte
	if _, err := e.dumpable.ReadAt(text[:], 0); err != nil || text[0] == '0' {
		return false
	}
	_, ok := flagsOf(os.Getpid()) // slot.left needs /proc
	return ok
}

// begin makes the child.
func (e *engine) begin(r *Request) (*start, error) {
	if e.held.crowded() {
		return nil, ErrCrowded
	}
	memory, err := e.memory(r)
	if err != nil {
		return nil, &StepError{Step: StepFork, Err: err}
	}
	s := &start{of: r.User, low: -1, door: -1}
	into := r.Cgroup
	if into != nil && e.movesIn.Load() {
		if s.door, err = unix.Openat(*into, "cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0); err != nil {
			e.slots.put(memory)
			return nil, &StepError{Step: stepMove, Err: err}
		}
		into = nil
	}
	descriptors, shares := r.Files, false
	if e.way == Table {
		if s.low, shares = e.low.take(r.Files); shares {
			low := uintptr(s.low)
			descriptors = [3]uintptr{low, low + 1, low + 2}
		}
	}
	s.table = e.write(memory, r, descriptors, shares, s.door)
	s.pid, err = e.config.Fork(func() (int, error) {
		pid, errno := s.clone(into, shares)
		if errno != 0 {
			return -1, errno
		}
		return pid, nil
	})
	if err != nil {
		e.free(s)
		return nil, &StepError{Step: StepFork, Err: err}
	}
	s.pidfd = newPidFD(int(s.header().pidfd))
	return s, nil
}

// newPidFD makes a pidfd one that the runtime's poller can wait for.
func newPidFD(fd int) *os.File {
	// A pidfd is opened without this flag, and setting it is the only way.
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_NONBLOCK)
	return os.NewFile(uintptr(fd), "pidfd")
}

func (s *start) child() *Child { return &Child{PID: s.pid, PidFD: s.pidfd} }

func (e *engine) memory(r *Request) (*slot, error) {
	if r.User != nil && e.apart() {
		return newApart(sizeOf(r))
	}
	return e.slots.get(sizeOf(r))
}

// clone makes the child that carries out the table of s.
func (s *slot) clone(cgroup *int, shares bool) (pid int, errno unix.Errno) {
	h := s.header()
	args := (*cloneArgs)(s.at(s.reserve(int(unsafe.Sizeof(cloneArgs{})), 8)))
	*args = cloneArgs{
		flags:      unix.CLONE_VM | unix.CLONE_PIDFD | unix.CLONE_CLEAR_SIGHAND | unix.CLONE_CHILD_CLEARTID,
		pidfd:      uint64(uintptr(unsafe.Pointer(&h.pidfd))),
		childTID:   uint64(uintptr(unsafe.Pointer(&h.word))),
		exitSignal: uint64(unix.SIGCHLD),
		stack:      uint64(uintptr(s.at(len(s.memory) - stackSize))), stackSize: stackSize,
	}
	if s.apart {
		args.flags &^= unix.CLONE_VM
	}
	if shares {
		args.flags |= unix.CLONE_FILES
	}
	if cgroup != nil {
		args.flags |= unix.CLONE_INTO_CGROUP
		args.cgroup = uint64(*cgroup)
	}
	pid = clone3(unsafe.Pointer(args), unsafe.Sizeof(*args), s.at(0))
	if pid < 0 {
		return -1, unix.Errno(-pid)
	}
	return pid, 0
}

// finish is called once the child has given the memory up.
func (e *engine) finish(s *start) (*Child, error) {
	defer e.free(s)
	child := s.child()
	outcome := s.outcome()
	if outcome == started && s.of != nil && neverExecuted(s.pid) {
		outcome = killed
	}
	switch outcome {
	case started:
		child.HomeErr = s.homeErr()
		return child, nil
	case refused:
		err := s.failure()
		e.held.reap(child)
		return nil, err
	default:
		e.held.reap(child)
		if s.current() < 0 {
			return nil, ErrStillborn
		}
		return nil, ErrKilled
	}
}

// free takes the memory and the descriptors of a start back that has no child any more.
func (e *engine) free(s *start) {
	e.freeLow(s)
	if s.door >= 0 {
		_ = unix.Close(s.door)
	}
	e.slots.put(s.slot)
}

// freeLow takes the low descriptors back.
func (e *engine) freeLow(s *start) {
	if s.low >= 0 {
		e.low.give(s.low)
		s.low = -1
	}
}

// parted says whether the child has descriptors of its own.
func (s *start) parted() bool { return s.unshed < 0 || s.result(s.unshed) == 0 }

// exits waits until a process has exited, for at most d. It says whether it has.
func exits(pidfd *os.File, d time.Duration) bool {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return false
	}
	_ = pidfd.SetReadDeadline(time.Now().Add(d))
	exited := false
	err = raw.Read(func(fd uintptr) bool {
		exited = readable(fd, 0)
		return exited
	})
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) { // the poller has not taken it
		_ = raw.Control(func(fd uintptr) { exited = readable(fd, d) })
	}
	return exited
}

// readable says whether fd becomes readable within d. It holds a thread meanwhile.
func readable(fd uintptr, d time.Duration) bool {
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(ready, int(d.Milliseconds()))
		if !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}

// signal sends a signal to a child.
func signal(pidfd *os.File, sig unix.Signal) error {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	err = raw.Control(func(fd uintptr) { sendErr = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
	return errors.Join(err, sendErr)
}
