package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// limited makes the cgroups of processes that have limits. They have a directory of
// their own, beside that of the others: its controllers cost the others nothing.
//
// Controllers, once enabled, stay so: another agent may have come to use them.
type limited struct {
	home
	path string // of the directory, which the first process with a limit makes
	made atomic.Int64
}

func newLimited(h home, path string) *limited { return &limited{home: h, path: path} }

// take makes a cgroup that has the limits.
func (l *limited) take(limits Limits) (*Group, error) {
	settings := limits.settings()
	if err := l.prepare(settings); err != nil {
		return nil, &LimitsError{err}
	}
	g, err := newGroup(filepath.Join(l.path, fmt.Sprint(execPrefix, l.made.Add(1))))
	if err != nil {
		return nil, err
	}
	g.fresh, g.limited = true, true
	if err := g.set(settings); err != nil {
		g.close()
		_ = removeTree(g.path)
		return nil, &LimitsError{err}
	}
	return g, nil
}

// prepare has home and directory hand on what the settings need. Any number of
// starts may do so at once.
func (l *limited) prepare(settings []setting) error {
	for _, s := range settings {
		if err := enable(l.dir, s.controller); err != nil {
			return err
		}
	}
	if err := os.Mkdir(l.path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	for _, s := range settings {
		if err := enable(l.path, s.controller); err != nil {
			return err
		}
	}
	return nil
}

// enable has dir hand on a controller to the cgroups in it.
func enable(dir, controller string) error {
	on, err := lists(dir, "cgroup.subtree_control", controller)
	if on || err != nil {
		return err
	}
	there, err := lists(dir, "cgroup.controllers", controller)
	switch {
	case err != nil:
		return err
	case !there:
		return fmt.Errorf("cgroup %s has no %s controller: it is not delegated, used by cgroup v1, or not in the kernel", dir, controller)
	}
	err = writeControl(filepath.Join(dir, "cgroup.subtree_control"), "+"+controller)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("cgroup %s has processes of its own: %w", dir, err)
	}
	return err
}

func lists(dir, file, controller string) (bool, error) {
	text, err := os.ReadFile(filepath.Join(dir, file))
	return slices.Contains(strings.Fields(string(text)), controller), err
}

// close leaves to daemons what they live in.
func (l *limited) close() error { return removeDirectory(l.path) }
