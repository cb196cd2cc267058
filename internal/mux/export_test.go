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
