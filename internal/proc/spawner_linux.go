package proc

import (
	"errors"

	"github.com/cocoonstack/cocoon-agent/internal/proc/cgroup"
	"github.com/cocoonstack/cocoon-agent/internal/proc/clone"
)

// A spawner is Linux's part of a [Spawner].
type spawner struct {
	null      nullDevice
	terminals reserve
	cgroups   *cgroup.Pool // nil: unavailable
	noCgroups error        // why
	engine    *clone.Engine
	lookups   chan struct{} // has a token for each lookup of a user
}

func (s *Spawner) open() {
	closeOnExec()
	catchIgnored()
	s.engine = openEngine()
	s.lookups = make(chan struct{}, maxLookups)
	s.noCgroups = errors.New("disabled")
	// A file that is open now cannot be taken away later.
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

func (s *spawner) groups() []string {
	if s.cgroups == nil {
		return nil
	}
	return s.cgroups.Directories()
}

func (s *spawner) cgroupsKept() int {
	if s.cgroups == nil {
		return 0
	}
	return s.cgroups.Left()
}

func (s *Spawner) close() error {
	err := errors.Join(s.engine.Close(), s.null.close(), s.terminals.close())
	if s.cgroups != nil {
		err = errors.Join(err, s.cgroups.Close())
	}
	return err
}

// actAsHelper does nothing: no helper is this program.
func actAsHelper() (status int, acted bool) { return 0, false }
