package proc

import (
	"math"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What started the agent may have left it files open, signals ignored or
// blocked, and inheritable capabilities. No child shall have any of them.

// closeOnExec keeps the files that the agent was started with, but for the
// standard three, from its children. Those that it opens have the flag already.
// Kernels before 5.11 cannot do it by themselves: /proc tells what is open there.
func closeOnExec() {
	if unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, entry := range fds {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// catchIgnored has the Go runtime catch the signals that the agent was started
// to ignore: what is caught is reset in a child. Nobody reads them, so that the
// agent goes on ignoring them. Those that C libraries keep for themselves the
// runtime does not catch; they are reset in the agent already, where nobody
// sends them.
func catchIgnored() {
	for sig := 1; sig <= maxSignal; sig++ {
		switch {
		case sig == int(unix.SIGCHLD):
			// By default nothing happens; a handler would interrupt a thread at the
			// end of each child, whose pidfd says so, too.
			resetSignal(sig)
		case !ignored(sig):
		case sig >= firstLibrarySignal && sig <= lastLibrarySignal:
			resetSignal(sig)
		default:
			signal.Notify(make(chan os.Signal, 1), syscall.Signal(sig))
		}
	}
}

// The real-time signals that glibc and musl use inside a process, signal(7).
const (
	firstLibrarySignal = 32
	lastLibrarySignal  = 34
)

// A sigaction is the kernel's: handler, flags, restorer, mask.
type sigaction [4]uint64

// ignored needs no /proc, which a guest may be without.
func ignored(sig int) bool {
	const ignore = 1 // SIG_IGN
	var action sigaction
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(&action)), 8, 0, 0)
	return errno == 0 && action[0] == ignore
}

// resetSignal is sigaction(sig, SIG_DFL).
func resetSignal(sig int) {
	var action sigaction
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
}

// A thread is what a child inherits of the thread that forks it.
type thread struct {
	blocked      unix.Sigset_t
	capabilities [2]unix.CapUserData
}

func currentThread() *thread {
	var t thread
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, nil, &t.blocked)
	_ = unix.Capget(capabilities(), &t.capabilities[0])
	return &t
}

func capabilities() *unix.CapUserHeader {
	return &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3} // of the calling thread
}

// plain says whether there is nothing that a child must not have.
func (t *thread) plain() bool {
	return t.blocked == unix.Sigset_t{} && t.capabilities[0].Inheritable|t.capabilities[1].Inheritable == 0
}

// forkExec is syscall.ForkExec from a plain thread. The threads of the agent
// are all alike in this.
func (s *Spawner) forkExec(path string, argv []string, attr *syscall.ProcAttr) (int, error) {
	if s.thread.plain() {
		return syscall.ForkExec(path, argv, attr)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// The agent itself uses no inheritable capability: its thread can do without.
	own := s.thread.capabilities
	own[0].Inheritable, own[1].Inheritable = 0, 0
	_ = unix.Capset(capabilities(), &own[0])
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil)
	defer func() { _ = unix.PthreadSigmask(unix.SIG_SETMASK, &s.thread.blocked, nil) }()
	return syscall.ForkExec(path, argv, attr)
}
