package proc

import (
	"bytes"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// sweepTime is how often strays are looked for at most.
const sweepTime = time.Second

// children are this program's child processes. A process may give it others than
// those that it has started: whatever is cloned with CLONE_PARENT by a main process
// becomes one. Nobody waits for such a stray, and its zombie would take a pid for as
// long as the agent lives. It is safe for concurrent use.
type children struct {
	mu       sync.Mutex
	starting int              // forks under way: their children have no name here yet
	main     map[int]struct{} // main processes that have not been reaped
	swept    time.Time
}

// own are this program's, whichever Spawner has started them.
var own = children{main: make(map[int]struct{})}

// start calls fork, which returns the pid of a new main process.
func (c *children) start(fork func() (int, error)) (int, error) {
	c.mu.Lock()
	c.starting++
	c.mu.Unlock()
	pid, err := fork()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.starting--
	if err == nil {
		c.main[pid] = struct{}{}
	}
	return pid, err
}

// adopt takes note of a main process that another program has started in this one's place.
func (c *children) adopt(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.main[pid] = struct{}{}
}

// disown leaves a main process to sweep.
func (c *children) disown(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.main, pid)
}

// reap waits for a main process that has exited.
func (c *children) reap(pid int, status *unix.WaitStatus, usage *unix.Rusage) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	got, err := wait4(pid, status, usage)
	if got != 0 || err != nil {
		delete(c.main, pid)
	}
	return got, err
}

// sweep reaps strays that have ended, unless that was done a moment ago or a main
// process is being started. It says whether there were any.
func (c *children) sweep(now bool) (found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.starting > 0 || !now && time.Since(c.swept) < sweepTime {
		return false
	}
	c.swept = time.Now()
	session, err := unix.Getsid(0)
	if err != nil {
		return false
	}
	for _, pid := range childrenOfThreads() {
		if _, known := c.main[pid]; known {
			continue
		}
		// The agent's other children are in its own session, and no other process
		// is.
		s, err := readStat(pid)
		if err != nil || !s.zombie || s.session == session {
			continue
		}
		var status unix.WaitStatus
		if got, err := wait4(pid, &status, nil); got == pid && err == nil {
			found = true
		}
	}
	return found
}

// childrenOfThreads reads proc_pid_children(5), which needs CONFIG_PROC_CHILDREN.
func childrenOfThreads() []int {
	threads, err := readNames("/proc/self/task")
	if err != nil {
		return nil
	}
	var pids []int
	for _, thread := range threads {
		text, err := os.ReadFile("/proc/self/task/" + thread + "/children")
		if err != nil {
			continue
		}
		for field := range bytes.FieldsSeq(text) {
			if pid, err := strconv.Atoi(string(field)); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
