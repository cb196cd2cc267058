package proc

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// reserved is how many terminals the agent keeps back. Any user of the guest can
// take all that are left (kernel.pty.max, or max= of devpts), and a person who
// wants to see what is wrong needs one or two.
const reserved = 4

// A reserve holds masters of terminals that nobody has used, locked as the kernel
// makes them: their slaves cannot be opened by name. It is filled when the agent
// starts, when a terminal starts, and when one is freed. A terminal that leaves it
// never comes back. It is safe for concurrent use.
type reserve struct {
	mu      sync.Mutex
	masters []int
	closed  bool
}

// open returns a new master, or one of the reserve if the system has no more.
func (r *reserve) open() (master int, err error) {
	master, err = openMaster()
	if err == nil {
		r.fill()
		return master, nil
	}
	if errors.Is(err, unix.ENOSPC) {
		if master, ok := r.withdraw(); ok {
			return master, nil
		}
	}
	return -1, err
}

// fill opens masters until there are enough, or until one cannot be opened. It ignores
// that error: a guest may have no terminals at all.
func (r *reserve) fill() {
	for r.wants() {
		master, err := openMaster()
		if err != nil {
			return
		}
		r.deposit(master)
	}
}

func (r *reserve) wants() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.closed && len(r.masters) < reserved
}

// deposit closes a master that came too late.
func (r *reserve) deposit(master int) {
	r.mu.Lock()
	wanted := !r.closed && len(r.masters) < reserved
	if wanted {
		r.masters = append(r.masters, master)
	}
	r.mu.Unlock()
	if !wanted {
		_ = unix.Close(master)
	}
}

func (r *reserve) withdraw() (master int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.masters)
	if n == 0 {
		return -1, false
	}
	master = r.masters[n-1]
	r.masters = r.masters[:n-1]
	return master, true
}

// close frees the terminals. No other gets into the reserve any more.
func (r *reserve) close() error {
	r.mu.Lock()
	masters := r.masters
	r.masters, r.closed = nil, true
	r.mu.Unlock()
	var err error
	for _, master := range masters {
		err = errors.Join(err, unix.Close(master))
	}
	return err
}
