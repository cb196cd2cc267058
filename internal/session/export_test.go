//go:build linux

package session

// AwaitConns waits until no connection is left.
func AwaitConns(s *Server) { s.serving.Wait() }
