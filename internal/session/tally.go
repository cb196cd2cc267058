package session

import (
	"sync"
	"time"
)

// maxKinds is how many kinds a tally tells apart.
const maxKinds = 64

// A tally keeps records that a peer can cause as often as it likes from filling
// the log: of each kind there are a few within tallyTime, and then one that
// counts the others. It is safe for concurrent use.
type tally struct {
	most   uint64                            // records of a kind within tallyTime
	report func(kind string, leftOut uint64) // for each kind with records left out

	mu     sync.Mutex
	counts map[string]uint64 // within the present tallyTime; nil: none has begun
	timer  *time.Timer       // ends it
}

// count says whether an event of a kind is to have a record of its own.
func (t *tally) count(kind string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = make(map[string]uint64)
		t.timer = time.AfterFunc(tallyTime, t.flush)
	}
	if _, known := t.counts[kind]; !known && len(t.counts) >= maxKinds {
		kind = "other"
	}
	t.counts[kind]++
	return t.counts[kind] <= t.most
}

// flush reports what was left out, and begins anew with the next event.
func (t *tally) flush() {
	t.mu.Lock()
	counts := t.counts
	t.counts = nil
	if t.timer != nil {
		t.timer.Stop()
	}
	t.mu.Unlock()
	for kind, n := range counts {
		if n > t.most {
			t.report(kind, n-t.most)
		}
	}
}
