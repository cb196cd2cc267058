package proc

import (
	"errors"

	"github.com/cocoonstack/cocoon-agent/internal/proc/cgroup"
)

// A spawner is Linux's part of a [Spawner].
type spawner struct {
	null      nullDevice
	terminals reserve
	cgroups   *cgroup.Pool // nil: none to be had
	noCgroups error        // why
	thread    *thread
}

func (s *Spawner) open() {
	closeOnExec()
	catchIgnored()
	s.thread = currentThread()
	s.noCgroups = errors.New("disabled")
	// What it opens now, nobody can take away.
	_, _ = s.null.open()
	s.terminals.fill()
}

func (s *Spawner) useCgroups(full func(left int)) error {
	c, err := cgroup.Open(full)
	if err != nil {
		s.noCgroups = err
		return err
	}
	s.cgroups = c
	return nil
}

func (s *Spawner) close() error {
	err := errors.Join(s.null.close(), s.terminals.close())
	if s.cgroups != nil {
		err = errors.Join(err, s.cgroups.Close())
	}
	return err
}
