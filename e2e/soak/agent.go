//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// An agent is the agent's process.
type agent struct {
	target string
	path   string // of its socket
	cmd    *exec.Cmd
	pid    int
	log    bytes.Buffer // warnings and errors; read once it has ended
}

func startAgent(program string) (*agent, error) {
	dir, err := os.MkdirTemp("", "soak") // a Unix socket's path is short
	if err != nil {
		return nil, err
	}
	a := &agent{path: filepath.Join(dir, "s")}
	a.target = "unix://" + a.path
	a.cmd = exec.Command(program, "serve", "--listen", a.target, "--control", a.path+".control", "--log-level", "error")
	a.cmd.Stderr = &a.log
	if err := a.cmd.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	a.pid = a.cmd.Process.Pid
	err = eventually("the agent listens", func() error {
		_, err := os.Stat(a.path)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, a.stop())
	}
	return a, nil
}

// stop ends the agent as a service manager does, and checks that it leaves
// nothing.
func (a *agent) stop() error {
	cgroups := a.cgroups()
	_ = a.cmd.Process.Signal(syscall.SIGTERM)
	err := a.cmd.Wait()
	_ = os.RemoveAll(filepath.Dir(a.path))
	if err != nil {
		err = fmt.Errorf("the agent's end: %w", err)
	}
	if a.log.Len() > 0 {
		err = errors.Join(err, fmt.Errorf("the agent has logged errors: %.2000s", &a.log))
	}
	for _, dir := range cgroups {
		if _, e := os.Stat(dir); e == nil {
			err = errors.Join(err, fmt.Errorf("the agent has left %s", dir))
		}
	}
	return err
}

// A footprint is what the agent holds.
type footprint struct {
	rss       int // KiB
	fds       int
	threads   int
	children  int
	cgroups   int // of execs
	populated int // of those, with processes
}

func (f footprint) String() string {
	return fmt.Sprintf("RSS %5d KiB  %3d fds  %2d threads  %2d children  %2d cgroups, %d populated",
		f.rss, f.fds, f.threads, f.children, f.cgroups, f.populated)
}

// How much more than before there may be.
const (
	// moreRSS is for what Go's runtime has not given back to the kernel: it is in
	// no hurry, and keeps a tenth.
	moreRSS = 8 << 10 // KiB

	// moreThreads is for those that the runtime has made for system calls that
	// block, and never ends.
	moreThreads = 8

	// mostCgroups is how many empty ones the agent keeps (internal/proc), with
	// fdsOfCgroup descriptors each.
	mostCgroups = 64
	fdsOfCgroup = 3
)

// atRest says what of f belongs to an exec.
func (f footprint) atRest() error {
	switch {
	case f.children > 0:
		return fmt.Errorf("%d children", f.children)
	case f.populated > 0:
		return fmt.Errorf("%d cgroups with processes", f.populated)
	case f.cgroups > mostCgroups:
		return fmt.Errorf("%d cgroups", f.cgroups)
	}
	return nil
}

// exceeds says what of f is more than before. A descriptor more, but for those
// of empty cgroups, is one too many.
func (f footprint) exceeds(before footprint) error {
	switch {
	case f.rss > before.rss+moreRSS:
		return fmt.Errorf("RSS is %d KiB, and was %d", f.rss, before.rss)
	case f.fds-fdsOfCgroup*f.cgroups > before.fds-fdsOfCgroup*before.cgroups:
		return fmt.Errorf("%d descriptors with %d cgroups, want at most %d with %d", f.fds, f.cgroups, before.fds, before.cgroups)
	case f.threads > before.threads+moreThreads:
		return fmt.Errorf("%d threads, want about %d", f.threads, before.threads)
	}
	return f.atRest()
}

func (a *agent) footprint() (footprint, error) {
	var f footprint
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.pid))
	if err != nil {
		return f, err
	}
	f.rss, f.threads = field(status, "VmRSS:"), field(status, "Threads:")
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", a.pid))
	if err != nil {
		return f, err
	}
	f.fds = len(fds)
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", a.pid))
	for _, list := range lists {
		pids, _ := os.ReadFile(list)
		f.children += len(bytes.Fields(pids))
	}
	for _, dir := range a.cgroups() {
		if !strings.HasPrefix(filepath.Base(dir), "exec-") {
			continue
		}
		f.cgroups++
		if events, _ := os.ReadFile(filepath.Join(dir, "cgroup.events")); bytes.Contains(events, []byte("populated 1")) {
			f.populated++
		}
	}
	return f, nil
}

// cgroups returns the directories of the agent's cgroups, of its execs and above.
func (a *agent) cgroups() []string {
	var dirs []string
	mine := fmt.Sprintf("cocoon-agent.%d", a.pid)
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.Contains(path, mine) {
			dirs = append(dirs, path)
		}
		return nil // a cgroup may go meanwhile
	})
	return dirs
}

// field returns the number behind name in a file like /proc/PID/status.
func field(text []byte, name string) int {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), name); ok {
			n, _ := strconv.Atoi(strings.Fields(rest)[0])
			return n
		}
	}
	return 0
}
