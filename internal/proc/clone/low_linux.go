package clone

import (
	"sync"

	"golang.org/x/sys/unix"
)

// A child that shares this program's descriptors takes a copy of those below a limit,
// by close_range(limit, ~0, CLOSE_RANGE_UNSHARE). So what it needs must be low. The
// first 64 descriptors are part of the kernel's files_struct: a copy of them needs no
// table of its own.
const (
	lowFirst = 16
	lowSets  = 15
	lowLimit = lowFirst + 3*lowSets
)

// lowFiles are sets of three low descriptors. Between starts each is /dev/null, so that
// nothing else gets its number. It is safe for concurrent use.
type lowFiles struct {
	mu   sync.Mutex
	null int   // -1: there are no sets, or no more
	free []int // the first descriptor of each set
}

// open makes those sets whose numbers nothing else has.
func (l *lowFiles) open() {
	var err error
	if l.null, err = unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		l.null = -1
		return
	}
	for first := lowLimit - 3; first >= lowFirst; first -= 3 {
		if l.occupy(first) {
			l.free = append(l.free, first)
		}
	}
}

func (l *lowFiles) occupy(first int) bool {
	for i := range 3 {
		fd, err := unix.FcntlInt(uintptr(l.null), unix.F_DUPFD_CLOEXEC, first+i)
		if err == nil && fd == first+i {
			continue
		}
		if err == nil {
			_ = unix.Close(fd)
		}
		closeAll(first, i)
		return false
	}
	return true
}

func closeAll(first, n int) {
	for i := range n {
		_ = unix.Close(first + i)
	}
}

// take returns the first of three descriptors that are duplicates of files, or false if
// there is no set left.
func (l *lowFiles) take(files [3]uintptr) (first int, ok bool) {
	l.mu.Lock()
	n := len(l.free)
	if n == 0 {
		l.mu.Unlock()
		return -1, false
	}
	first = l.free[n-1]
	l.free = l.free[:n-1]
	l.mu.Unlock()
	for i, fd := range files {
		if unix.Dup3(int(fd), first+i, unix.O_CLOEXEC) != nil {
			l.give(first)
			return -1, false
		}
	}
	return first, true
}

// give takes a set back from a start whose child has descriptors of its own by now. The
// start may have outlived the program's use of the sets.
func (l *lowFiles) give(first int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.null < 0 {
		closeAll(first, 3)
		return
	}
	for i := range 3 {
		_ = unix.Dup3(l.null, first+i, unix.O_CLOEXEC)
	}
	l.free = append(l.free, first)
}

// close closes the sets that nobody has. The others are closed when they are given back.
func (l *lowFiles) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, first := range l.free {
		closeAll(first, 3)
	}
	l.free = nil
	if l.null >= 0 {
		_ = unix.Close(l.null)
	}
	l.null = -1
}
