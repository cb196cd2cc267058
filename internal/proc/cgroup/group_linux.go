package cgroup

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A group holds its directory and two of its files open: to end a tree must not need
// a descriptor that may not be had.
type group struct {
	path    string
	dir     int
	events  int // cgroup.events
	killer  int // cgroup.kill
	fresh   bool
	limited bool
	late    []setting
}

func newGroup(path string) (*Group, error) {
	if err := os.Mkdir(path, 0o755); err != nil {
		return nil, err
	}
	g := &Group{group{path: path, dir: -1, events: -1, killer: -1}}
	if err := g.open(); err != nil {
		g.close()
		return nil, errors.Join(err, os.Remove(path))
	}
	return g, nil
}

func (g *group) open() (err error) {
	if g.dir, err = unix.Open(g.path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return &os.PathError{Op: "open", Path: g.path, Err: err}
	}
	if g.events, err = g.openFile("cgroup.events", unix.O_RDONLY); err != nil {
		return err
	}
	g.killer, err = g.openFile("cgroup.kill", unix.O_WRONLY)
	return err
}

func (g *group) openFile(name string, mode int) (fd int, err error) {
	if fd, err = unix.Openat(g.dir, name, mode|unix.O_CLOEXEC, 0); err != nil {
		return -1, &os.PathError{Op: "open", Path: filepath.Join(g.path, name), Err: err}
	}
	return fd, nil
}

// close is called once nobody asks for the group any more.
func (g *group) close() {
	for _, fd := range []*int{&g.dir, &g.events, &g.killer} {
		if *fd >= 0 {
			_ = unix.Close(*fd)
		}
		*fd = -1
	}
}

func (g *group) fd() int { return g.dir }

func (g *group) empty() bool {
	var text [256]byte
	n, err := unix.Pread(g.events, text[:], 0)
	return bytes.Contains(text[:max(n, 0)], []byte("populated 0")) || errors.Is(err, unix.ENODEV) // removed
}

func (g *group) spoilt(err error) bool {
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EROFS):
		return true
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOENT): // the latter is said of a program too
		_, err := unix.Pread(g.events, make([]byte, 1), 0)
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

func (g *group) kill() { _, _ = unix.Pwrite(g.killer, []byte("1"), 0) }

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
