package mux

// Held is how much memory the received and unread bytes of s take.
func (s *Stream) Held() (bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.received {
		bytes += len(*c.buf)
	}
	return bytes
}

// SendWindow is how many bytes the peer of s takes.
func (s *Stream) SendWindow() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sendWindow
}

// Sending says whether a frame of s is on its way.
func (s *Stream) Sending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sending
}

// Waits says whether a WriteTo of s waits, to which bytes can be handed over.
func (s *Stream) Waits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting != nil && !s.waiting.busy && s.readers > 0
}

// ReceiveWindow is how many unread bytes the peer of s may send.
func (s *Stream) ReceiveWindow() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sizeLocked()
}

// Grown is by how much the receive windows of a session have grown, the unread ones of
// streams that have ended included.
func (s *Session) Grown() int {
	if l := s.ledger; l != nil {
		l.quota.mu.Lock()
		defer l.quota.mu.Unlock()
		return l.grown
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.windows.granted.Load()) - len(s.streams)*s.window
}
