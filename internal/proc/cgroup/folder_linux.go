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

// A folder is where one agent has the cgroups of its execs. It is locked, by
// flock(2), for as long as the agent lives: that tells it from one that an agent
// which was killed has left. The pid in its name would not do: another process may
// have that by now, and every agent that is process 1 of a PID namespace has it.
type folder struct {
	path string
	lock *os.File
}

const (
	folderPrefix = "cocoon-agent."
	limitsSuffix = "-limits" // of the folder beside it, for execs that have limits
)

// makeFolder makes one below parent.
func makeFolder(parent string) (folder, error) {
	first := filepath.Join(parent, fmt.Sprint(folderPrefix, os.Getpid()))
	path := first
	for n := 2; ; n++ {
		f, err := claimFolder(path)
		if !errors.Is(err, os.ErrExist) {
			return f, err
		}
		path = fmt.Sprintf("%s.%d", first, n)
	}
}

// claimFolder makes a folder and locks it. The error is os.ErrExist where there
// is something by its name, or another agent that starts has taken it for left.
func claimFolder(path string) (folder, error) {
	if _, err := os.Stat(path + limitsSuffix); err == nil {
		return folder{}, os.ErrExist
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		return folder{}, err
	}
	lock, err := lockFolder(path)
	if err == nil {
		if _, err = os.Stat(path); err == nil {
			return folder{path, lock}, nil
		}
		_ = lock.Close()
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.EWOULDBLOCK) {
		return folder{}, os.ErrExist
	}
	return folder{}, errors.Join(err, os.Remove(path))
}

// lockFolder does not wait: the error is EWOULDBLOCK where an agent has it.
func lockFolder(path string) (*os.File, error) {
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
func (f folder) close() error {
	return errors.Join(removeFolder(f.path), f.lock.Close())
}

// removeStale removes what agents that were killed have left below parent. A cgroup
// with a process in it stays. So do the folders of early versions, whose names begin
// otherwise: some of those took no lock, so that nothing proves that they are dead.
func removeStale(parent string) {
	paths, _ := filepath.Glob(filepath.Join(parent, folderPrefix+"*"))
	until := time.Now().Add(unbornTime)
	for _, path := range paths {
		lock, err := lockFolder(strings.TrimSuffix(path, limitsSuffix))
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
	execs, _ := filepath.Glob(filepath.Join(path, "exec-*"))
	for _, exec := range execs {
		endUnborn(exec, until)
		_ = removeTree(exec)
	}
	_ = os.Remove(path)
}

// removeFolder removes a folder of cgroups, unless there is one in it or it has
// never been made.
func removeFolder(path string) error {
	err := os.Remove(path)
	for _, fine := range []error{unix.EBUSY, unix.ENOTEMPTY, unix.ENOENT} {
		if errors.Is(err, fine) {
			return nil
		}
	}
	return err
}
