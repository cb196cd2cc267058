//go:build !linux && !darwin && !windows

package lane

import (
	"errors"
	"os"
	"syscall"
)

func readFD(syscall.RawConn, uintptr, []byte) (n int, ready bool, err error) {
	return 0, true, errors.ErrUnsupported
}

func pipe(f *os.File) (syscall.RawConn, error) { return f.SyscallConn() }

func hungUp(uintptr) bool { return false }

func enlarge(uintptr) {}

func waiting(uintptr) (int, error) { return 0, errors.ErrUnsupported }

func tryWriteFD(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
