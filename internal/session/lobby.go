package session

import "time"

// hearTime is how long a connection of which nothing has been heard is not made
// to give way: a burst of hosts that speak comes faster than they are listened to.
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

// awaitRoom waits until there is room for a connection of which nothing has been
// heard, or one that has had its time. The next ones wait in the listener's queue.
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

// crowded is how long it is to be waited for the one that has been silent for
// longest, where there is no room for another one.
func (s *Server) crowded() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count(arrived) < s.caps.Greetings {
		return 0
	}
	return hearTime - time.Since(s.oldest(arrived).begun)
}

// hasMoved says that a connection is no longer one of which nothing has been heard.
func (s *Server) hasMoved() {
	select {
	case s.moved <- struct{}{}:
	default:
	}
}

// arrive makes room for a connection of which nothing has been heard: where
// there are too many, the one that has been silent for longest is closed. It is
// called with mu held.
func (s *Server) arrive(c *conn) {
	if s.count(arrived) >= s.caps.Greetings {
		silent := s.oldest(arrived)
		silent.stage = departed
		silent.turnAway()
	}
	s.arrivals++
	c.arrival = s.arrivals
	s.conns[c] = true
}

// preface counts c as a connection, which has come as far as to. If there are too
// many, one gives way: the oldest of those that have been served, or else the oldest of
// those that have not said hello. If there is neither, c is refused.
func (s *Server) preface(c *conn, to stage) error {
	defer s.hasMoved()
	s.mu.Lock()
	defer s.mu.Unlock()
	most := s.caps.Connections
	if !s.has(c.peer.Class) {
		most += reserved(most) // one class of hosts does not lock out another
	}
	if s.count(prefaced)+s.count(greeted)+s.count(served) >= most {
		idle := s.oldest(served)
		if idle == nil {
			idle = s.oldest(prefaced)
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

// has says whether hosts of a class have a connection that counts.
func (s *Server) has(class string) bool {
	for c := range s.conns {
		if c.peer.Class == class && c.stage != arrived && c.stage != departed {
			return true
		}
	}
	return false
}

func (s *Server) count(at stage) int {
	n := 0
	for c := range s.conns {
		if c.stage == at {
			n++
		}
	}
	return n
}

// oldest returns the connection that has come first of those at a stage, or nil.
func (s *Server) oldest(at stage) *conn {
	var first *conn
	for c := range s.conns {
		if c.stage == at && (first == nil || c.arrival < first.arrival) {
			first = c
		}
	}
	return first
}
