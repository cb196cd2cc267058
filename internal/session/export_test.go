//go:build linux

package session

// AwaitConns waits until no connection is left.
func AwaitConns(s *Server) { s.serving.Wait() }

// WaitingAnswers returns how many answers wait for hosts to read them.
func WaitingAnswers(s *Server) int {
	n := 0
	for _, c := range s.connections() {
		c.replies.mu.Lock()
		n += len(c.replies.waiting)
		c.replies.mu.Unlock()
	}
	return n
}
