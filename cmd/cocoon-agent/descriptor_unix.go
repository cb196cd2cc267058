//go:build unix

package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// firstDescriptor is above the standard streams, which are the command's.
const firstDescriptor = 3

// openDescriptor returns a descriptor that this program was started with. One that was
// not open may be the Go runtime's own by now.
func openDescriptor(fd word, writing bool) (*os.File, error) {
	if fd < firstDescriptor {
		return nil, errors.New("want 3 or above")
	}
	var s unix.Stat_t
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err == nil {
		err = unix.Fstat(int(fd), &s)
	}
	mode := flags & unix.O_ACCMODE
	switch {
	case err != nil || s.Mode&unix.S_IFMT == 0:
		return nil, errors.New("not open")
	case writing && mode == unix.O_RDONLY:
		return nil, errors.New("not open for writing")
	case !writing && mode == unix.O_WRONLY:
		return nil, errors.New("not open for reading")
	default:
		return os.NewFile(uintptr(fd), "descriptor"), nil
	}
}
