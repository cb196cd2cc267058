package session

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/freeze"
	"github.com/cocoonstack/cocoon-agent/internal/guest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A quiet is the guest's holding still, from the hooks before it to those after it.
//
//	hooks → refusing work → frozen → free → over
//	hooks → refusing work → free → over
type quiet struct {
	request wire.Quiesce
	begun   time.Time
	steps   []guest.Step // that were taken
	release func()       // of the log; nil: it is not held

	refusing atomic.Bool   // work
	free     chan struct{} // closed when all goes on
	over     chan struct{} // closed when the hooks have been run, too
	end      guest.Step    // of thawing; set before free
	told     *wire.Thawed  // to hosts, likewise
	last     []guest.Step  // the hooks'; set before over

	mu     sync.Mutex
	guard  *freeze.Guard // nil: it has not been started
	frozen bool          // all holds still
	by     string        // what has ended it; empty: nothing has
}

// again gives a guest that holds still more time.
func (q *quiet) again(m *wire.Quiesce) ([]guest.Step, error) {
	if m.FreezeExecs && !q.request.FreezeExecs || m.FreezeFS && !q.request.FreezeFS {
		return nil, fmt.Errorf("%w: the guest is quiesced, and freezes less: thaw it first", errBadRequest)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.by != "" || !q.frozen {
		return nil, errQuiet // it is about to go on
	}
	q.guard.Extend(within(m))
	steps := make([]guest.Step, len(q.steps))
	for i, s := range q.steps {
		steps[i] = guest.Step{Name: s.Name, Note: s.Note}
	}
	return steps, nil
}

func (q *quiet) took(s guest.Step) { q.steps = append(q.steps, s) }

// holds reports whether all holds still.
func (q *quiet) holds() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.frozen
}

// isEnding reports whether the guest is to go on.
func (q *quiet) isEnding() bool { return q.reason() != "" }

// reason is what has ended it, or empty.
func (q *quiet) reason() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.by
}

// stop has all go on. The first reason counts.
func (q *quiet) stop(by string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.by == "" {
		q.by = by
	}
	if q.guard != nil {
		q.guard.Thaw()
	}
}

// guardedBy makes g the one that freezes and thaws.
func (q *quiet) guardedBy(g *freeze.Guard) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.guard = g
	if q.by != "" {
		g.Thaw()
	}
}

// isFrozen notes, once the guard has done its work, whether all holds still.
func (q *quiet) isFrozen() bool {
	select {
	case <-q.guard.Ended():
		return false
	default:
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.frozen = true
	return true
}

// ended waits for the guard, if there is one, and returns the step of thawing.
func (q *quiet) ended() guest.Step {
	step := guest.Step{Name: "thaw", Changed: true}
	why := freeze.Failure
	if q.guard != nil {
		<-q.guard.Ended()
		why, step.Err = q.guard.Outcome()
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.by == "" || why != freeze.Told {
		q.by = string(why)
	}
	return step
}

// outcome is what hosts are told of the end.
func (q *quiet) outcome() *wire.Thawed {
	q.mu.Lock()
	defer q.mu.Unlock()
	return &wire.Thawed{
		Held: q.frozen && q.by == "host" && q.end.Err == nil, By: q.by, MS: uint64(time.Since(q.begun).Milliseconds()),
	}
}
