//go:build unix

package main

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// canReadStdin says whether standard input is open for reading.
func canReadStdin() bool {
	flags, err := unix.FcntlInt(uintptr(syscall.Stdin), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_ACCMODE != unix.O_WRONLY
}
