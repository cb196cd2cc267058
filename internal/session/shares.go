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

// shares count execs, and forwards apart from them. It is safe for concurrent use.
type shares struct {
	quotas Quotas

	mu       sync.Mutex
	kept     int
	execs    pie
	forwards pie
}

// A pie counts what there may be a number of on all connections. Some of them are for
// connections that have none, and half of these for classes of hosts that have none, so
// that no host can lock out the others for good.
type pie struct {
	name string
	each int // for each connection
	most int
	all  int

	classes map[string]int // how many of all
}

// A share is what an exec or a forward counts as.
type share struct {
	class         string
	keep, forward bool
}

func newShares(q Quotas) shares {
	return shares{
		quotas:   q,
		execs:    pie{name: "execs", each: q.Execs, most: q.AllExecs, classes: make(map[string]int)},
		forwards: pie{name: "forwards", each: q.Forwards, most: q.AllForwards, classes: make(map[string]int)},
	}
}

// take counts an exec or a forward of a connection that has a number of them already.
func (s *shares) take(has int, x share) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pieLocked(x)
	if err := p.check(has, x.class); err != nil {
		return err
	}
	if x.keep && s.kept >= s.quotas.Kept {
		return overLimit(s.quotas.Kept, "kept execs")
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
	if x.keep {
		s.kept += n
	}
	s.pieLocked(x).count(x.class, n)
}

func (s *shares) pieLocked(x share) *pie {
	if x.forward {
		return &s.forwards
	}
	return &s.execs
}

// check returns an error if there is no room for one more of a connection that has a
// number of them already.
func (p *pie) check(has int, class string) error {
	most := p.most
	switch {
	case has >= p.each:
		return overLimit(p.each, p.name+" per connection")
	case has > 0:
		most -= reserved(most)
	case p.classes[class] > 0:
		most -= reserved(most) / 2
	}
	if p.all < most {
		return nil
	}
	err := overLimit(most, p.name+" in total")
	if rest := p.most - most; rest > 0 {
		err = fmt.Errorf("%w (%d more are reserved for connections and hosts without %s)", err, rest, p.name)
	}
	return err
}

func (p *pie) count(class string, n int) {
	p.all += n
	if p.classes[class] += n; p.classes[class] == 0 {
		delete(p.classes, class)
	}
}
