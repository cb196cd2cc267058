package session

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/cocoonstack/cocoon-agent/internal/job"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Quotas bound what hosts can use of an agent at a time. 0 stands for the default. The
// agent refuses anything beyond a quota with the error kind limit, and everything else
// goes on.
type Quotas struct {
	Connections     int // that have sent the preface
	Greetings       int // besides those, that have not
	Execs           int // running or starting, for each connection
	AllExecs        int // on all connections
	Kept            int // of these, that live on when their connections end
	Forwards        int // connecting or open, for each connection
	AllForwards     int // on all connections
	Message         int // bytes of a request
	Keeping         job.Quotas
	mux.QuotaConfig // streams, and memory for input
}

// Defaults of [Quotas], and of [mux.QuotaConfig]. They suit a guest with 128 MiB, in
// which it is the commands that need the memory: the agent needs about 24 KiB
// for one that is silent.
const (
	DefaultConnections = 256
	DefaultGreetings   = 64
	DefaultExecs       = 2048
	DefaultAllExecs    = 2 * DefaultExecs
	DefaultKept        = 1024 // at most half of AllExecs
	DefaultForwards    = 4096
	DefaultAllForwards = 2 * DefaultForwards
	DefaultMessage     = wire.MaxMessage

	// MinMessage is room for every request but exec and reseed.
	MinMessage = 4 << 10
)

const (
	// maxReseeds is how many requests may be at it at the same time.
	maxReseeds = 8

	// smallRequest is what no memory is reserved for: room for every request but
	// exec and reseed, so that these are heard when there is none.
	smallRequest = 1 << 10
)

func (c Quotas) withDefaults() Quotas {
	all := cmp.Or(c.AllExecs, DefaultAllExecs)
	return Quotas{
		Connections: cmp.Or(c.Connections, DefaultConnections),
		Greetings:   cmp.Or(c.Greetings, DefaultGreetings),
		Execs:       cmp.Or(c.Execs, DefaultExecs),
		AllExecs:    all,
		Kept:        cmp.Or(c.Kept, min(DefaultKept, max(1, all/2))),
		Forwards:    cmp.Or(c.Forwards, DefaultForwards),
		AllForwards: cmp.Or(c.AllForwards, DefaultAllForwards),
		Message:     cmp.Or(c.Message, DefaultMessage),
		Keeping:     c.Keeping,
		QuotaConfig: c.QuotaConfig,
	}
}

var errLimit = errors.New("limit reached")

func overLimit(n int, what string) error {
	return fmt.Errorf("%w: at most %d %s", errLimit, n, what)
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
