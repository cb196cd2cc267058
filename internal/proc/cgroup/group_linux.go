package cgroup

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

type group struct {
	path    string
	dir     *os.File
	events  *os.File
	killer  *os.File // cgroup.kill: ending a tree must not need a descriptor that may not be had
	used    bool     // by another tree before
	killed  atomic.Bool
	limited bool // one tree's, whose limits it has
	late    []setting
}

func newGroup(path string) (*Group, error) {
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
	return &Group{group{path: path, dir: dir, events: events, killer: killer}}, nil
}

func (g *group) fd() int { return int(g.dir.Fd()) }

func (g *group) remove() error {
	err := os.Remove(g.path)
	if errors.Is(err, os.ErrNotExist) { // somebody else has
		err = nil
	}
	return errors.Join(g.killer.Close(), g.events.Close(), g.dir.Close(), err)
}

func (g *group) empty() bool {
	var text [256]byte
	n, err := g.events.ReadAt(text[:], 0)
	return bytes.Contains(text[:n], []byte("populated 0")) || errors.Is(err, unix.ENODEV) // removed
}

func (g *group) spoilt(err error) bool {
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

func (g *group) members() []int {
	text, _ := os.ReadFile(filepath.Join(g.path, "cgroup.procs"))
	var pids []int
	for _, field := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// kill makes the cgroup one that is not used again: Linux 6.18, for one, takes any
// later clone3 into a cgroup that has been killed for a fork under way.
func (g *group) kill() {
	g.killed.Store(true)
	_, _ = g.killer.WriteAt([]byte("1"), 0)
}

func (g *group) outOfMemory() bool {
	return g.limited && g.count("memory.events.local", "oom") > 0 && g.count("memory.events", "oom_kill") > 0
}

// count returns a number from a file with a name and a number in each line.
func (g *group) count(file, name string) int {
	text, _ := os.ReadFile(filepath.Join(g.path, file))
	for line := range bytes.Lines(text) {
		if fields := bytes.Fields(line); len(fields) == 2 && string(fields[0]) == name {
			n, _ := strconv.Atoi(string(fields[1]))
			return n
		}
	}
	return 0
}
