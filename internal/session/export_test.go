//go:build linux

package session

import (
	"time"
	"weak"

	"github.com/cocoonstack/cocoon-agent/internal/netid"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

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

// Collected returns, for each connection of now, a function that says whether the
// garbage collector has taken it with all that it had.
func Collected(s *Server) (all []func() bool) {
	for _, c := range s.connections() {
		conn, session := weak.Make(c), weak.Make(c.mux)
		all = append(all, func() bool { return conn.Value() == nil && session.Value() == nil })
	}
	return all
}

// Connections returns how many connections the server has.
func Connections(s *Server) int { return len(s.connections()) }

// SetReportTime sets how long hosts have at a shutdown, until restore.
func SetReportTime(d time.Duration) (restore func()) {
	usual := reportTime
	reportTime = d
	return func() { reportTime = usual }
}

// CheckNetwork reads the network of a reseed.
func CheckNetwork(m *wire.Network) (*netid.Network, error) { return checkNetwork(m) }
