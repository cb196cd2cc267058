package deadman

import "time"

// A Scale has the times of a Deadman of a test.
type Scale struct {
	Beat, Calm, Short time.Duration
	Missed, Term      int
	Last              time.Duration
}

// StartScaled is Start with other times.
func StartScaled(s Scale) (*Deadman, error) {
	d := new(Deadman)
	err := d.start(times{beat: s.Beat, calm: s.Calm, short: s.Short, missed: s.Missed, term: s.Term, last: s.Last})
	return d, err
}

// ScaleFor returns the times of Start.
func ScaleFor(grace time.Duration) Scale {
	t := timesFor(grace)
	return Scale{t.beat, t.calm, t.short, t.missed, t.term, t.last}
}
