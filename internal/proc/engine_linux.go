package proc

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc/clone"
)

// forcedWay is how tests have processes started; 0: the best way that works.
var forcedWay clone.Way

func openEngine() *clone.Engine {
	return clone.Open(clone.Config{Fork: own.fork, Reap: own.reapFailed, Way: forcedWay})
}

// fork is start, and tries again if zombies had all pids there are.
func (c *children) fork(fork func() (int, error)) (int, error) {
	pid, err := c.start(fork)
	if errors.Is(err, unix.EAGAIN) && c.sweep(true) {
		return c.start(fork)
	}
	return pid, err
}

// reapFailed reaps a child that has not become a main process. It says whether that
// has gone.
func (c *children) reapFailed(pid int) bool {
	var status unix.WaitStatus
	got, err := c.reap(pid, &status, nil)
	return got != 0 || err != nil
}

func (s *Spawner) startWay() (string, error) {
	way, why := s.engine.Way()
	return way.String(), why
}

func (s *Spawner) startsStuck() int { return s.engine.Stuck() }
