package handover

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc/clone/nofile"
)

// execute does not use syscall.Exec: if that fails, the limit stays lowered, and raising it again
// would have all children inherit it.
func execute(p Program) error {
	path, err := unix.BytePtrFromString(p.Path)
	if err != nil {
		return err
	}
	argv, err := syscall.SlicePtrFromStrings(p.Argv)
	if err != nil {
		return err
	}
	env, err := syscall.SlicePtrFromStrings(p.Env)
	if err != nil {
		return err
	}
	if err := keepOpen(p.Keep, true); err != nil {
		_ = keepOpen(p.Keep, false)
		return err
	}
	restoreLimit, restoreSignal := lowerLimit(), ignoreHangup()
	_, _, errno := unix.Syscall(unix.SYS_EXECVE,
		uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&env[0])))
	restoreSignal()
	restoreLimit()
	_ = keepOpen(p.Keep, false)
	return &os.PathError{Op: "execve", Path: p.Path, Err: errno}
}

// keepOpen has descriptors stay open when a program is executed, or not.
func keepOpen(fds []int, keep bool) error {
	flag := unix.FD_CLOEXEC
	if keep {
		flag = 0
	}
	for _, fd := range fds {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, flag); err != nil {
			return fmt.Errorf("descriptor %d: %w", fd, os.NewSyscallError("fcntl", err))
		}
	}
	return nil
}

// lowerLimit sets the limit of open files to that of the beginning, by a system call of its own: package
// syscall takes note of calls of its functions.
func lowerLimit() (restore func()) {
	first, ok := nofile.Initial()
	var now nofile.Limit
	if !ok || prlimit(&first, &now) != nil {
		return func() {}
	}
	return func() { _ = prlimit(&now, nil) }
}

func prlimit(set, old *nofile.Limit) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// A sigaction is the kernel's: handler, flags, restorer, mask.
type sigaction [4]uint64

func ignoreHangup() (restore func()) {
	ignore, before := sigaction{1}, sigaction{} // 1 is SIG_IGN
	if sigactionOf(&ignore, &before) != nil {
		return func() {}
	}
	return func() { _ = sigactionOf(&before, nil) }
}

func sigactionOf(set, old *sigaction) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGHUP), uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
