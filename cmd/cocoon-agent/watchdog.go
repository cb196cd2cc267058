//go:build linux || windows

package main

import (
	"time"

	"github.com/rs/zerolog"

	"github.com/cocoonstack/cocoon-agent/internal/systemd"
)

const (
	// watchInterval is how often the agent is looked after, if systemd does
	// not want to hear of it more often.
	watchInterval = 20 * time.Second

	// stuckTicks is how many ticks a look may take: longer than the agent is
	// ever busy.
	stuckTicks = 3
)

// watchSpeed divides the times of both watchdogs. Tests raise it.
var watchSpeed = 1

// A watchdog ends an agent that is stuck, so that whatever has started it
// starts another.
//
// It counts ticks and does not look at the clock. When a paused VM goes on, the
// clock may have jumped by hours, but a ticker ticks once. systemd's own
// watchdog (WatchdogSec=) looks at the clock, and may end an agent that was only
// paused. It gets its word if it is switched on.
//
// It is made of goroutines. If none runs any more, [deadman.Deadman] ends the agent.
type watchdog struct {
	log    zerolog.Logger
	check  func() // does not return while the agent is stuck
	tell   func(assignments ...string)
	giveUp func()
}

// interval is how often to look if systemd wants to hear of it within timeout.
func interval(timeout time.Duration) time.Duration {
	ours := watchInterval / time.Duration(watchSpeed)
	if timeout == 0 {
		return ours
	}
	return min(timeout/2, ours)
}

// watch looks after the agent at each tick, until done.
func (w *watchdog) watch(tick <-chan time.Time, done <-chan struct{}) {
	checked := make(chan struct{}, 1)
	missed := -1 // ticks since the look that goes on; -1: none does
	for {
		select {
		case <-done:
			return
		case <-checked:
			missed = -1
			w.tell(systemd.Watchdog)
		case <-tick:
			missed++
			switch missed {
			case 0:
				go w.look(checked) // ends unless the agent is stuck, and then with it
			case stuckTicks:
				w.log.Error().Int("ticks", missed).Msg("agent is stuck, aborting")
				w.giveUp()
			}
		}
	}
}

func (w *watchdog) look(checked chan<- struct{}) {
	w.check()
	checked <- struct{}{}
}
