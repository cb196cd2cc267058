package session

import (
	"maps"
	"slices"
)

// Check takes each lock that a request needs, and so does not return while one
// of them is stuck: the server could then serve nobody, or one host no more. No
// lock is held while anybody is waited for: Check takes as long as the machine
// is busy.
func (s *Server) Check() {
	for _, c := range s.connections() {
		c.check()
	}
	s.jobs.Check()
}

func (s *Server) connections() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.conns))
}

func (c *conn) check() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.tasks {
		w.check()
	}
}
