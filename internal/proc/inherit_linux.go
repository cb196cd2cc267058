package proc

import (
	"math"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The process that started the agent may have left it files open, signals ignored or
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

// catchIgnored makes the Go runtime catch the signals that the agent was started to
// ignore, because a caught signal is reset in a child. Nobody reads them, so that the
// agent goes on ignoring them. The runtime does not catch those that C libraries keep
// for themselves: they are reset in the agent already, and nobody sends them to it.
func catchIgnored() {
	for sig := 1; sig <= maxSignal; sig++ {
		switch {
		case sig == int(unix.SIGCHLD):
			// By default nothing happens. A handler would interrupt a thread at the
			// end of each child, which its pidfd tells anyway.
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
