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

// Credit is how many bytes the peer of s takes.
func (s *Stream) Credit() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.credit
}

// Sending says whether a frame of s is on its way.
func (s *Stream) Sending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sending
}
