package lane

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// enlarge gives a pipe room for largePipe bytes.
func enlarge(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, largePipe) }

func pipe(f *os.File) (syscall.RawConn, error) { return f.SyscallConn() }

func waiting(fd uintptr) (int, error) { return unix.IoctlGetInt(int(fd), unix.TIOCINQ) }
