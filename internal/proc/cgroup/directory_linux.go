package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A directory is where one agent has the cgroups of its processes. It is locked, by
// flock(2), for as long as the agent lives: that tells it from one that an agent
// which was killed has left. The pid in its name would not do: another process may
// have that by now, and every agent that is process 1 of a PID namespace has it.
type directory struct {
	path string
	lock *os.File
}

const (
	directoryPrefix = "cocoon-agent."
	execPrefix      = "exec-"   // of the name of each cgroup in it
	limitsSuffix    = "-limits" // of the directory beside it, for processes that have limits
)

// makeDirectory makes one below parent.
func makeDirectory(parent string) (directory, error) {
	first := filepath.Join(parent, fmt.Sprint(directoryPrefix, os.Getpid()))
	path := first
	for n := 2; ; n++ {
		f, err := claimDirectory(path)
		if !errors.Is(err, os.ErrExist) {
			return f, err
		}
		path = fmt.Sprintf("%s.%d", first, n)
	}
}

// claimDirectory makes a directory and locks it. The error is os.ErrExist if there is a
// file by its name, or if another agent that starts has taken the directory for a dead
// agent's.
func claimDirectory(path string) (directory, error) {
	if _, err := os.Stat(path + limitsSuffix); err == nil {
		return directory{}, os.ErrExist
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		return directory{}, err
	}
	lock, err := lockDirectory(path)
	if err == nil {
		if _, err = os.Stat(path); err == nil {
			return directory{path, lock}, nil
		}
		_ = lock.Close()
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.EWOULDBLOCK) {
		return directory{}, os.ErrExist
	}
	return directory{}, errors.Join(err, os.Remove(path))
}

// lockDirectory does not wait: the error is EWOULDBLOCK if an agent has locked it.
func lockDirectory(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(os.NewSyscallError("flock", err), f.Close())
	}
	return f, nil
}

// close leaves to daemons what they live in.
func (f directory) close() error {
	return errors.Join(removeDirectory(f.path), f.lock.Close())
}

// removeStale removes what agents that were killed have left below parent. A cgroup
// with a process in it stays. So do the directories of early versions, whose names begin
// otherwise: some of those took no lock, so that nothing proves that they are dead.
func removeStale(parent string) {
	paths, _ := filepath.Glob(filepath.Join(parent, directoryPrefix+"*"))
	until := time.Now().Add(unbornTime)
	for _, path := range paths {
		lock, err := lockDirectory(strings.TrimSuffix(path, limitsSuffix))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			continue // an agent's that lives
		}
		removeExecs(path, until)
		if lock != nil {
			_ = lock.Close()
		}
	}
}

func removeExecs(path string, until time.Time) {
	execs, _ := filepath.Glob(filepath.Join(path, execPrefix+"*"))
	for _, exec := range execs {
		endUnborn(exec, until)
		_ = removeTree(exec)
	}
	_ = os.Remove(path)
}

// removeDirectory removes a directory of cgroups, unless there is one in it or it has
// never been made.
func removeDirectory(path string) error {
	err := os.Remove(path)
	for _, fine := range []error{unix.EBUSY, unix.ENOTEMPTY, unix.ENOENT} {
		if errors.Is(err, fine) {
			return nil
		}
	}
	return err
}
