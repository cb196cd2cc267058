//go:build linux

package hybrid

// A connKey names a connection by its two ports.
type connKey struct{ host, guest uint32 }

// registerClient gives a client's connection a port and adds it to the table: the
// guest may talk to it from then on. During a transport reset it blocks until the
// reset is over. It returns false if the guest has gone.
func (s *session) registerClient(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.hold != nil {
		hold := s.hold
		s.mu.Unlock()
		<-hold
		s.mu.Lock()
	}
	if s.gone {
		return false
	}
	for {
		c.key.host = s.nextPort
		s.nextPort = (s.nextPort+1)&^(1<<31) | firstPort
		if s.conns[c.key] == nil {
			break
		}
	}
	s.addLocked(c)
	return true
}

// registerGuest adds a connection that the guest has opened. It returns false if
// the guest has gone or has one of these ports already.
func (s *session) registerGuest(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || s.conns[c.key] != nil {
		return false
	}
	s.addLocked(c)
	return true
}

func (s *session) addLocked(c *conn) {
	s.conns[c.key] = c
	s.opened.Add(1)
}

func (s *session) find(k connKey) *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[k]
}

func (s *session) unregister(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns[c.key] == c {
		delete(s.conns, c.key)
	}
}

// unregisterAll empties the table for good, and returns what was in it.
func (s *session) unregisterAll() map[connKey]*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
	conns := s.conns
	s.conns = map[connKey]*conn{}
	return conns
}
