package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// maxFree is how many empty cgroups are kept for the next processes: making and
// removing one takes longer than starting a small process.
const maxFree = 64

// cgroups makes cgroups below the agent's own and uses them again.
//
// A cgroup goes through: free → taken → free again, or → left, where a daemon
// lives on in it after a normal exit, → free once it is empty. What is left is
// looked at when another one is given back. One that has been killed is removed.
type cgroups struct {
	folder  folder
	limited *limited // those of execs with limits

	mu   sync.Mutex
	free []*cgroup
	left []*cgroup
	made int
}

// openCgroups makes the agent's own part of the hierarchy.
func openCgroups() (*cgroups, error) {
	h, err := findHome()
	if err != nil {
		return nil, err
	}
	removeStale(h.dir)
	f, err := makeFolder(h.dir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(filepath.Join(f.path, "cgroup.kill")); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return &cgroups{folder: f, limited: newLimited(h, f.path+limitsSuffix)}, nil
}

// ownCgroup returns the folder of the cgroup v2 that the agent is in.
func ownCgroup() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	mount, ok := cgroup2Mount(mounts)
	if !ok {
		return "", errors.New("no cgroup v2 is mounted")
	}
	membership, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(membership)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return filepath.Join(mount, path), nil
		}
	}
	return "", errors.New("/proc/self/cgroup names no cgroup v2")
}

// cgroup2Mount finds where the whole hierarchy is mounted, proc_pid_mountinfo(5).
func cgroup2Mount(mountinfo []byte) (string, bool) {
	for line := range bytes.Lines(mountinfo) {
		before, after, ok := strings.Cut(string(line), " - ")
		fields := strings.Fields(before)
		if ok && strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 && fields[3] == "/" {
			return fields[4], true
		}
	}
	return "", false
}

// take returns an empty cgroup.
func (c *cgroups) take(limits Limits) (*cgroup, error) {
	if limits != (Limits{}) {
		return c.limited.take(limits)
	}
	c.mu.Lock()
	if n := len(c.free); n > 0 {
		g := c.free[n-1]
		c.free = c.free[:n-1]
		c.mu.Unlock()
		return g, nil
	}
	c.made++
	name := fmt.Sprintf("exec-%d", c.made)
	c.mu.Unlock()
	return newCgroup(filepath.Join(c.folder.path, name))
}

// give takes a cgroup back.
func (c *cgroups) give(g *cgroup) {
	if g.limited {
		c.limited.give(g)
		return
	}
	c.limited.sweep()
	g.used = true
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = append(c.left, g)
	still := c.left[:0]
	for _, g := range c.left {
		switch {
		case !g.empty():
			still = append(still, g)
		case len(c.free) < maxFree && !g.killed.Load():
			c.free = append(c.free, g)
		default:
			_ = g.remove()
		}
	}
	clear(c.left[len(still):])
	c.left = still
}

// close removes what is empty.
func (c *cgroups) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.limited.close()
	for _, g := range c.free {
		err = errors.Join(err, g.remove())
	}
	for _, g := range c.left {
		_ = g.remove()
	}
	c.free, c.left = nil, nil
	return errors.Join(err, c.folder.close())
}

// A cgroup holds the tree of one exec.
type cgroup struct {
	path    string
	dir     *os.File
	events  *os.File
	killer  *os.File // cgroup.kill: ending a tree must not need a descriptor that may not be had
	used    bool     // by an exec before
	killed  atomic.Bool
	limited bool // one exec's, whose limits it has
	late    []setting
}

func newCgroup(path string) (*cgroup, error) {
	if err := os.Mkdir(path, 0o755); err != nil {
		return nil, err
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	events, err := os.Open(filepath.Join(path, "cgroup.events"))
	if err != nil {
		return nil, errors.Join(err, dir.Close(), os.Remove(path))
	}
	killer, err := os.OpenFile(filepath.Join(path, "cgroup.kill"), os.O_WRONLY, 0)
	if err != nil {
		return nil, errors.Join(err, events.Close(), dir.Close(), os.Remove(path))
	}
	return &cgroup{path: path, dir: dir, events: events, killer: killer}, nil
}

func (g *cgroup) fd() int { return int(g.dir.Fd()) }

func (g *cgroup) remove() error {
	err := os.Remove(g.path)
	if errors.Is(err, os.ErrNotExist) { // somebody else has
		err = nil
	}
	return errors.Join(g.killer.Close(), g.events.Close(), g.dir.Close(), err)
}

// empty says whether no process lives in it.
func (g *cgroup) empty() bool {
	var text [256]byte
	n, err := g.events.ReadAt(text[:], 0)
	return bytes.Contains(text[:n], []byte("populated 0")) || errors.Is(err, unix.ENODEV) // removed
}

// spoilt says whether err, of a fork, says that the cgroup takes no process: it
// has controllers for cgroups below it, is threaded, is in a hierarchy that is
// read-only by now, or has been removed.
func (g *cgroup) spoilt(err error) bool {
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EROFS):
		return true
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOENT): // the latter is said of a program too
		_, err := g.events.ReadAt(make([]byte, 1), 0)
		return errors.Is(err, unix.ENODEV)
	default:
		return false
	}
}

// members returns the processes in it, but not those below it.
func (g *cgroup) members() []int {
	text, _ := os.ReadFile(filepath.Join(g.path, "cgroup.procs"))
	var pids []int
	for _, field := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// kill sends SIGKILL to everything in it and below, forks under way included. It
// is not used again: Linux 6.18, for one, takes any later clone3 into a cgroup
// that has been killed for such a fork.
func (g *cgroup) kill() {
	g.killed.Store(true)
	_, _ = g.killer.WriteAt([]byte("1"), 0)
}
