package session

import (
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// hearTime is how long a silent connection is not made to give way: a burst of hosts
// that speak comes faster than they are listened to.
const hearTime = time.Second

// A stage is how far a connection has come. It is guarded by the server's mu.
//
//	arrived → prefaced → greeted → departed
//	arrived → greeted → served → departed: a version-1 host's
//
// One that is refused stays where it is until it is closed.
type stage int

const (
	arrived  stage = iota // nothing has been heard of it
	prefaced              // it has sent the first line, and counts as a connection
	greeted               // it has said hello
	served                // it is a version-1 host's, which has its last frame
	departed              // it has ended, or is being ended
)

// awaitRoom waits until there is room for a connection that has sent nothing yet, or
// until one of those has had its time. The next ones wait in the listener's queue.
func (s *Server) awaitRoom() {
	for {
		wait := s.crowded()
		if wait <= 0 {
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-s.moved:
		case <-timer.C:
		case <-s.stopping:
		}
		timer.Stop()
		if s.isClosing() {
			return
		}
	}
}

// crowded returns 0 if there is room for another silent connection. Otherwise it
// returns how long the oldest of them may still be silent.
func (s *Server) crowded() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.countLocked(arrived) < s.quotas.Greetings {
		return 0
	}
	return hearTime - time.Since(s.oldestLocked(arrived).begun)
}

// noteMoved notes that a connection has been heard, and is no longer a silent one.
func (s *Server) noteMoved() {
	select {
	case s.moved <- struct{}{}:
	default:
	}
}

// arriveLocked makes room for a connection that has sent nothing yet. If there are too
// many, it closes the one that has been silent for longest. It is called with mu held.
func (s *Server) arriveLocked(c *conn) {
	if s.countLocked(arrived) >= s.quotas.Greetings {
		silent := s.oldestLocked(arrived)
		silent.stage = departed
		silent.turnAway(wire.Limit, "too many connections wait to be greeted")
	}
	s.arrivals++
	c.arrival = s.arrivals
	s.conns[c] = true
}

// preface counts c as a connection, which has come as far as to. If there are too
// many, one gives way: the oldest of those that have been served, or else the oldest of
// those that have not said hello. If there is neither, c is refused.
func (s *Server) preface(c *conn, to stage) error {
	defer s.noteMoved()
	s.mu.Lock()
	defer s.mu.Unlock()
	most := s.quotas.Connections
	if !s.hasLocked(c.peer.Class) {
		most += reserved(most) // one class of hosts does not lock out another
	}
	if s.countLocked(prefaced)+s.countLocked(greeted)+s.countLocked(served) >= most {
		idle := s.oldestLocked(served)
		if idle == nil {
			idle = s.oldestLocked(prefaced)
		}
		if idle == nil {
			return overLimit(most, "connections")
		}
		idle.stage = departed
		idle.cut()
	}
	c.stage = to
	return nil
}

// advance moves c on, unless it has been made to give way.
func (s *Server) advance(c *conn, to stage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.stage = max(c.stage, to)
}

// hasLocked says whether hosts of a class have a connection that counts.
func (s *Server) hasLocked(class string) bool {
	for c := range s.conns {
		if c.peer.Class == class && c.stage != arrived && c.stage != departed {
			return true
		}
	}
	return false
}

func (s *Server) countLocked(at stage) int {
	n := 0
	for c := range s.conns {
		if c.stage == at {
			n++
		}
	}
	return n
}

// oldestLocked returns the connection that has come first of those at a stage, or nil.
func (s *Server) oldestLocked(at stage) *conn {
	var first *conn
	for c := range s.conns {
		if c.stage == at && (first == nil || c.arrival < first.arrival) {
			first = c
		}
	}
	return first
}
