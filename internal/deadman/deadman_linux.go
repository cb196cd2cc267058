//go:build amd64 || arm64 || riscv64

package deadman

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

type deadman struct {
	page    *page // nil: nothing is watched
	beating sync.WaitGroup
	done    chan struct{} // closed: no more beats
	stopped sync.Once
}

var (
	mu      sync.Mutex
	memory  []byte // of the thread: a page, and its stack. Kept when it has ended: a signal handler may look at it
	running bool   // there is a Deadman
)

var errRunning = errors.New("deadman: there is one already")

func (d *deadman) start(t times) error {
	mu.Lock()
	defer mu.Unlock()
	if running {
		return errRunning
	}
	if memory == nil {
		m, err := unix.Mmap(-1, 0, 2*os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return fmt.Errorf("deadman: %w", os.NewSyscallError("mmap", err))
		}
		memory = m
	}
	p := (*page)(unsafe.Pointer(&memory[0]))
	*p = newPage(t)
	debug.SetTraceback("crash")
	if err := p.begin(&memory[len(memory)-stackSlack]); err != nil {
		return fmt.Errorf("deadman: %w", os.NewSyscallError("clone", err))
	}
	running = true
	d.page, d.done = p, make(chan struct{})
	p.catch()
	d.beating.Go(func() { d.beat(t.beat) }) // stopped by stop, which waits for it
	return nil
}

func (d *deadman) beat(interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			atomic.AddUint64(&d.page.beats, 1)
		case <-d.done:
			return
		}
	}
}

func (d *deadman) taken() {
	if d.page != nil {
		atomic.StoreUint64(&d.page.term, 0)
	}
}

func (d *deadman) abort() {
	if d.page == nil {
		_ = unix.Kill(os.Getpid(), unix.SIGABRT)
		return
	}
	d.page.tell(orderAbort)
}

func (d *deadman) stop() {
	if d.page == nil {
		return
	}
	d.stopped.Do(func() {
		close(d.done)
		d.beating.Wait()
		d.page.uncatch()
		d.page.tell(orderExit)
		d.page.awaitExit()
		mu.Lock()
		defer mu.Unlock()
		running = false
	})
}

// stackSlack is where the stack of the thread begins, below the end of its memory. The
// thread uses none, but ABIs want it aligned.
const stackSlack = 64

// Orders to the thread.
const (
	orderNone uint32 = iota
	orderExit
	orderAbort
)

// A page is what the thread and the program share. The assembler uses its layout.
type page struct {
	order uint32 // a futex
	tid   uint32 // of the thread; a futex: the kernel makes it 0 when the thread has ended
	beats uint64
	term  uint64 // not 0: a SIGTERM has not been taken

	calm, short pace
	missed      uint64 // as in times
	late        uint64 // times.term
	last        unix.Timespec

	pid uint64
	now unix.Timespec // of the thread's own
}

// A pace is how long a round takes. It begins with the time, as futex(2) takes it.
type pace struct {
	sleep unix.Timespec
	most  int64 // nanoseconds; a round that takes longer does not count
}

func newPace(d time.Duration) pace {
	return pace{sleep: unix.NsecToTimespec(int64(d)), most: int64(2 * d)}
}

func newPage(t times) page {
	return page{
		calm: newPace(t.calm), short: newPace(t.short),
		missed: uint64(t.missed), late: uint64(t.term), last: unix.NsecToTimespec(int64(t.last)),
		pid: uint64(os.Getpid()),
	}
}

// threadFlags make the new process a thread of this one.
const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD |
	unix.CLONE_SYSVSEM | unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_CLEARTID

// begin makes the thread. All signals are blocked in it: it has no stack for a handler.
func (p *page) begin(stack *byte) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, before unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &before); err != nil {
		return err
	}
	tid := clone(threadFlags, uintptr(unsafe.Pointer(stack)), uintptr(unsafe.Pointer(&p.tid)), uintptr(unsafe.Pointer(p)))
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	if tid < 0 {
		return syscall.Errno(-tid)
	}
	// For people who look at the threads.
	_ = os.WriteFile(fmt.Sprintf("/proc/self/task/%d/comm", tid), []byte("deadman"), 0)
	return nil
}

// Operations of futex(2).
const (
	futexWait = 0
	futexWake = 1
)

// tell wakes the thread up.
func (p *page) tell(order uint32) {
	atomic.StoreUint32(&p.order, order)
	_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&p.order)), futexWake, 1, 0, 0, 0)
}

// awaitExit waits until the thread is gone.
func (p *page) awaitExit() {
	for tid := atomic.LoadUint32(&p.tid); tid != 0; tid = atomic.LoadUint32(&p.tid) {
		_, _, _ = unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&p.tid)), futexWait, uintptr(tid), 0, 0, 0)
	}
}

// clone makes a thread that runs watch. It returns the thread's id, or an errno below 0.
//
//go:noescape
func clone(flags, stack, tid, page uintptr) (r int)
