package deadman

import "time"

// times say when a program is stuck.
type times struct {
	beat time.Duration // between two beats

	// A round takes calm while beats come, and short from the first round without.
	// The thread wakes up once in calm, as a rule.
	calm, short time.Duration

	missed int // so many rounds without a beat end the program
	term   int // so many short rounds with a SIGTERM that is not taken do

	last time.Duration // between SIGABRT and SIGKILL
}

// timesFor returns times that give a program that is stuck SIGABRT after 60 to 70
// seconds, and SIGKILL after 90 at the latest. On a machine with much else to do each
// short round gives the program a turn.
func timesFor(grace time.Duration) times {
	const (
		calm  = 5 * time.Second
		short = 250 * time.Millisecond
		stuck = 60 * time.Second
		late  = 5 * time.Second // with calm, 10 seconds
	)
	return times{
		beat: 4 * time.Second,
		calm: calm, short: short,
		missed: int(stuck / short),
		term:   int((grace + late) / short),
		last:   18 * time.Second,
	}
}

// dividedBy returns shorter times. A program is stuck after as many rounds.
func (t times) dividedBy(speed int) times {
	for _, d := range []*time.Duration{&t.beat, &t.calm, &t.short, &t.last} {
		*d /= time.Duration(speed)
	}
	return t
}
