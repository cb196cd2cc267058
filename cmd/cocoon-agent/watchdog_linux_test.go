package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// A watched is an agent that is looked after, at ticks of the test's.
type watched struct {
	tick     chan time.Time
	stuck    chan struct{} // the agent is, until it can be received from
	told     []string
	givenUp  int
	log      bytes.Buffer
	finished func()
}

func watch() *watched {
	w := &watched{tick: make(chan time.Time), stuck: make(chan struct{})}
	done := make(chan struct{})
	dog := watchdog{
		log:    zerolog.New(&w.log),
		check:  func() { <-w.stuck },
		tell:   func(assignments ...string) { w.told = append(w.told, assignments...) },
		giveUp: func() { w.givenUp++ },
	}
	go dog.watch(w.tick, done) // stopped by finished
	w.finished = func() { close(done) }
	return w
}

// ticks lets n ticks pass.
func (w *watched) ticks(n int) {
	for range n {
		w.tick <- time.Time{}
		synctest.Wait()
	}
}

func TestWatchdogSaysThatTheAgentWorksOncePerTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch()
		defer w.finished()
		close(w.stuck)
		w.ticks(10)
		if len(w.told) != 10 || w.told[0] != "WATCHDOG=1" || w.givenUp != 0 {
			t.Errorf("told %q, given up %d times", w.told, w.givenUp)
		}
	})
}

func TestWatchdogGivesUpOnAStuckAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch()
		defer w.finished()
		w.ticks(3)
		if len(w.told) != 0 || w.givenUp != 0 {
			t.Errorf("too early: told %q, given up %d times", w.told, w.givenUp)
		}
		w.ticks(1)
		if len(w.told) != 0 || w.givenUp != 1 || strings.Count(w.log.String(), "stuck") != 1 {
			t.Errorf("told %q, given up %d times, log %s", w.told, w.givenUp, &w.log)
		}
		close(w.stuck)
	})
}

func TestWatchdogForgetsWhatTheAgentHasGotOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch()
		defer w.finished()
		for range 5 {
			w.ticks(3) // one more would be too many
			w.stuck <- struct{}{}
			synctest.Wait()
		}
		if len(w.told) != 5 || w.givenUp != 0 {
			t.Errorf("told %q, given up %d times", w.told, w.givenUp)
		}
	})
}

// While a VM is paused nothing ticks; then the clock jumps, and there is one tick.
func TestWatchdogTakesAPausedVMForNoStuckAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch()
		defer w.finished()
		w.ticks(1)
		time.Sleep(24 * time.Hour) //nolint:forbidigo // the jump of the bubble's clock is what is tested
		w.ticks(1)
		w.stuck <- struct{}{}
		synctest.Wait()
		if len(w.told) != 1 || w.givenUp != 0 {
			t.Errorf("told %q, given up %d times", w.told, w.givenUp)
		}
	})
}

func TestWatchdogIntervalIsHalfOfSystemds(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{
		0: watchInterval, time.Second: time.Second / 2, time.Hour: watchInterval,
	} {
		if got := interval(timeout); got != want {
			t.Errorf("WATCHDOG_USEC of %v: every %v, want %v", timeout, got, want)
		}
	}
}
