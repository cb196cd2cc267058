package proc

import (
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A nullDevice is /dev/null, held open once it could be. It is safe for
// concurrent use.
type nullDevice struct {
	mu   sync.Mutex
	file *os.File // nil: not opened yet
}

// open returns its descriptor. It checks that the file is the null device: another file
// would keep output that is to be thrown away.
func (n *nullDevice) open() (uintptr, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.file != nil {
		return n.file.Fd(), nil
	}
	f, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, fmt.Errorf("open /dev/null for unused streams: %w: %w", ErrUnsupported, err)
	}
	if !isNull(f) {
		_ = f.Close()
		return 0, fmt.Errorf("open /dev/null for unused streams: %w: %s is not the null device", ErrUnsupported, os.DevNull)
	}
	n.file = f
	return f.Fd(), nil
}

// isNull says whether f is device 1:3 (devices.txt of the kernel's Documentation).
func isNull(f *os.File) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && s.Mode&unix.S_IFMT == unix.S_IFCHR && s.Rdev == unix.Mkdev(1, 3)
}

func (n *nullDevice) close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.file == nil {
		return nil
	}
	return n.file.Close()
}
