package random

import (
	"os"

	"golang.org/x/sys/unix"
)

// read waits until the kernel's generator has been seeded. Then getrandom(2) gives
// all of 256 bytes, and no signal interrupts it.
func read(b []byte) {
	for len(b) > 0 {
		n, err := unix.Getrandom(b, 0)
		if err != nil && err != unix.EINTR {
			panic(os.NewSyscallError("getrandom", err)) // Linux before 3.17, or a filter of system calls
		}
		b = b[max(n, 0):]
	}
}
