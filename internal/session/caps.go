//go:build linux

package session

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Caps bound what hosts can have of an agent at a time. 0 stands for the
// default. What is beyond one is refused with the error kind limit, and
// everything else goes on.
type Caps struct {
	Connections int // that have sent the preface
	Greetings   int // besides those, that have not
	Execs       int // running or starting, for each connection
	AllExecs    int // on all connections
	Kept        int // of these, that live on when their connections end
	Message     int // bytes of a request
	mux.Limits      // streams, and memory for input
}

// Defaults of [Caps], and of [mux.Limits]. They suit a guest with 128 MiB, in
// which it is the commands that need the memory: the agent needs about 24 KiB
// for one that is silent.
const (
	DefaultConnections = 256
	DefaultGreetings   = 64
	DefaultExecs       = 2048
	DefaultAllExecs    = 2 * DefaultExecs
	DefaultKept        = 1024 // at most half of AllExecs
	DefaultMessage     = wire.MaxMessage

	// MinMessage is room for every request but exec and reseed.
	MinMessage = 4 << 10
)

const (
	// maxReseeds is how many requests may be at it at the same time.
	maxReseeds = 8

	// maxPending is how many requests may wait for one exec to have started.
	maxPending = 1024

	// smallRequest is what no memory is reserved for: room for every request but
	// exec and reseed, so that these are heard when there is none.
	smallRequest = 1 << 10
)

func (c Caps) withDefaults() Caps {
	all := cmp.Or(c.AllExecs, DefaultAllExecs)
	return Caps{
		Connections: cmp.Or(c.Connections, DefaultConnections),
		Greetings:   cmp.Or(c.Greetings, DefaultGreetings),
		Execs:       cmp.Or(c.Execs, DefaultExecs),
		AllExecs:    all,
		Kept:        cmp.Or(c.Kept, min(DefaultKept, max(1, all/2))),
		Message:     cmp.Or(c.Message, DefaultMessage),
		Limits:      c.Limits,
	}
}

var errLimit = errors.New("limit reached")

func overLimit(n int, what string) error {
	return fmt.Errorf("%w: this agent has %d %s at a time", errLimit, n, what)
}

// requestCost is how much memory a request of size bytes takes until it has
// been carried out: as it came, decoded, and as the kernel gets it.
func requestCost(size int) int {
	if size <= smallRequest {
		return 0
	}
	return 4 * size
}

// listCost is what a list of n strings takes besides their bytes: a string and
// a pointer, twice.
func listCost(n int) int { return 48 * n }

// reserved is how many of all execs are for connections that have none, so that
// no host can lock out the others.
func (c Caps) reserved() int {
	return min(maxReserved, c.AllExecs/4)
}

// maxReserved is enough for somebody to look around and end what is too much.
const maxReserved = 16

// addExec counts an exec, or a forward, of c. It is called with c's mu held.
func (s *Server) addExec(c *conn, keep bool) error {
	if len(c.execs) >= s.caps.Execs {
		return overLimit(s.caps.Execs, "execs for each connection")
	}
	if keep && s.kept.Add(1) > int64(s.caps.Kept) {
		s.kept.Add(-1)
		return overLimit(s.caps.Kept, "execs that are kept when their connections end")
	}
	most := s.caps.AllExecs
	if len(c.execs) > 0 {
		most -= s.caps.reserved()
	}
	if s.execs.Add(1) > int64(most) {
		s.removeExec(keep)
		if most < s.caps.AllExecs {
			return fmt.Errorf("%w, and %d more for connections that have none", overLimit(most, "execs on all connections"), s.caps.reserved())
		}
		return overLimit(most, "execs on all connections")
	}
	return nil
}

// removeExec undoes addExec.
func (s *Server) removeExec(keep bool) {
	s.execs.Add(-1)
	if keep {
		s.kept.Add(-1)
	}
}
