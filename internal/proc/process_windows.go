package proc

import (
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// A process is Windows's part of a [Process].
type process struct {
	handle windows.Handle
	job    jobObject

	waiter *waiter
	gaveUp chan struct{} // closed when the main process has not ended though it was ended

	ending sync.Once
	ended  chan struct{} // closed when the tree has been terminated

	interrupting sync.Mutex // held while Ctrl-C is being sent

	mu     sync.Mutex
	reaped bool // the handles are closed
}

// Exit codes of what the agent has ended: those that shells give to SIGTERM and SIGKILL.
const (
	codeTerminated = 128 + 15
	codeKilled     = 128 + 9
)

func (p *Process) wait() error {
	select {
	case <-p.waiter.done:
	case <-p.gaveUp:
		if !p.hasExited() {
			return ErrStuck
		}
	}
	if p.terminal != nil {
		p.terminal.hangUp()
	}
	return nil
}

// hasExited looks at the process, and not at what watches it.
func (p *Process) hasExited() bool {
	state, err := windows.WaitForSingleObject(p.handle, 0)
	return err == nil && state == windows.WAIT_OBJECT_0
}

func (p *Process) reap() (Exit, error) {
	if p.stdin != nil {
		_ = p.stdin.file.Close()
	}
	p.ending.Do(func() { close(p.ended) })
	<-p.ended
	if p.terminal != nil {
		p.terminal.close()
	}
	if !p.hasExited() {
		go func() { // ends when the process does; nobody waits for it
			<-p.waiter.done
			p.free()
		}()
		return Exit{}, ErrStuck
	}
	e, err := p.exit()
	p.free()
	return e, err
}

func (p *Process) exit() (Exit, error) {
	var code uint32
	if err := windows.GetExitCodeProcess(p.handle, &code); err != nil {
		return Exit{}, os.NewSyscallError("GetExitCodeProcess", err)
	}
	e := Exit{Code: int(int32(code)), Status: code, MaxRSS: peakOf(p.handle)}
	var created, exited, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(p.handle, &created, &exited, &kernel, &user); err == nil {
		e.SystemTime, e.UserTime = duration(kernel), duration(user)
	}
	return e, nil
}

// duration is of a count of 100 ns.
func duration(t windows.Filetime) time.Duration {
	return time.Duration(uint64(t.HighDateTime)<<32|uint64(t.LowDateTime)) * 100
}

// memoryCounters is PROCESS_MEMORY_COUNTERS.
type memoryCounters struct {
	size, faults  uint32
	peak, current uintptr
	_             [6]uintptr
}

var getProcessMemoryInfo = kernel32.NewProc("K32GetProcessMemoryInfo")

// peakOf returns how much memory a process has had at most, in bytes; 0: not known.
func peakOf(h windows.Handle) int64 {
	var m memoryCounters
	m.size = uint32(unsafe.Sizeof(m))
	if ok, _, _ := getProcessMemoryInfo.Call(uintptr(h), uintptr(unsafe.Pointer(&m)), uintptr(m.size)); ok == 0 {
		return 0
	}
	return int64(m.peak)
}

// free closes the handles. The rest of the tree lives on.
func (p *Process) free() {
	p.waiter.stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaped = true
	p.job.release()
	_ = windows.CloseHandle(p.handle)
}

// A waiter is told of the end of a process by a thread of the system's, which waits for 63
// processes.
type waiter struct {
	id   uintptr
	wait windows.Handle // 0: a goroutine waits
	done chan struct{}  // closed when the process has ended
}

// waiters are those that the system may call.
var waiters struct {
	sync.Mutex
	last  uintptr
	known map[uintptr]*waiter
}

var (
	registerWait   = kernel32.NewProc("RegisterWaitForSingleObject")
	unregisterWait = kernel32.NewProc("UnregisterWaitEx")

	hasEnded = sync.OnceValue(func() uintptr {
		return syscall.NewCallback(func(id, _ uintptr) uintptr {
			waiters.Lock()
			defer waiters.Unlock()
			if w, ok := waiters.known[id]; ok {
				delete(waiters.known, id)
				close(w.done)
			}
			return 0
		})
	})
)

// watch makes the process's waiter.
func (p *Process) watch() {
	const onlyOnce, inWaitThread = 0x8, 0x4
	w := &waiter{done: make(chan struct{})}
	p.waiter = w
	waiters.Lock()
	waiters.last++
	w.id = waiters.last
	if waiters.known == nil {
		waiters.known = make(map[uintptr]*waiter)
	}
	waiters.known[w.id] = w
	waiters.Unlock()
	ok, _, _ := registerWait.Call(uintptr(unsafe.Pointer(&w.wait)), uintptr(p.handle), hasEnded(), w.id, windows.INFINITE, onlyOnce|inWaitThread)
	if ok != 0 {
		return
	}
	waiters.Lock()
	delete(waiters.known, w.id)
	waiters.Unlock()
	go func() { // ends when the process does; costs a thread
		_, _ = windows.WaitForSingleObject(p.handle, windows.INFINITE)
		close(w.done)
	}()
}

// stop is called when the process has ended.
func (w *waiter) stop() {
	<-w.done
	if w.wait != 0 {
		_, _, _ = unregisterWait.Call(uintptr(w.wait), 0)
	}
}
