package session

import (
	"fmt"
	"sync"
)

// maxReserved is how many execs are reserved at most, and how many connections:
// enough for somebody to look around and end what is too much.
const maxReserved = 16

// reserved is how many of n are reserved.
func reserved(n int) int { return min(maxReserved, n/4) }

// shares count execs. Some of them are for connections that have none, and half of
// these for classes of hosts that have none, so that no host can lock out the others
// for good. Forwards count as execs, and may be half of all. It is safe for
// concurrent use.
type shares struct {
	quotas Quotas

	mu       sync.Mutex
	all      int
	kept     int
	forwards int
	classes  map[string]int // how many of all
}

// A share is what an exec counts as.
type share struct {
	class         string
	keep, forward bool
}

// take counts an exec of a connection that has a number of them already.
func (s *shares) take(has int, x share) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := s.quotas.AllExecs
	switch {
	case has >= s.quotas.Execs:
		return overLimit(s.quotas.Execs, "execs per connection")
	case x.keep && s.kept >= s.quotas.Kept:
		return overLimit(s.quotas.Kept, "kept execs")
	case x.forward && s.forwards >= max(1, most/2):
		return overLimit(max(1, most/2), "forwards in total")
	case has > 0:
		most -= reserved(most)
	case s.classes[x.class] > 0:
		most -= reserved(most) / 2
	}
	if s.all >= most {
		err := overLimit(most, "execs in total")
		if rest := s.quotas.AllExecs - most; rest > 0 {
			err = fmt.Errorf("%w (%d more are reserved for connections and hosts without execs)", err, rest)
		}
		return err
	}
	s.countLocked(x, 1)
	return nil
}

// adopt counts an exec that another agent has started, whatever the quotas are.
func (s *shares) adopt(x share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.countLocked(x, 1)
}

func (s *shares) give(x share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.countLocked(x, -1)
}

func (s *shares) countLocked(x share, n int) {
	s.all += n
	if x.keep {
		s.kept += n
	}
	if x.forward {
		s.forwards += n
	}
	if s.classes[x.class] += n; s.classes[x.class] == 0 {
		delete(s.classes, x.class)
	}
}
