package clone

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// held are the starts that take longer than a thread may be held, and the children that
// have failed and are not reaped yet. One goroutine looks at all of them; it runs while
// there are any. It is safe for concurrent use.
type held struct {
	engine *engine

	mu      sync.Mutex
	starts  []*start
	dying   []*Child
	running bool
	stuck   int // starts that are abandoned
}

const (
	lookFirst = time.Millisecond
	lookLater = 10 * time.Millisecond

	// slowTime is how long a start may go on whose context has ended. On a busy machine
	// one that does not hang takes milliseconds, and its command is ended like any other.
	slowTime = 250 * time.Millisecond

	// fewLooks is how often a start is looked at in short intervals.
	fewLooks = 100
)

func (e *engine) stuck() int {
	e.held.mu.Lock()
	defer e.held.mu.Unlock()
	return e.held.stuck
}

// crowded says whether there may be no more starts that are stuck.
func (h *held) crowded() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stuck >= MaxStuck
}

// wait returns nil once the child has given the memory up by itself. If ctx ends it kills
// the child soon after.
func (h *held) wait(ctx context.Context, s *start) error {
	s.end = make(chan struct{})
	h.mu.Lock()
	h.starts = append(h.starts, s)
	h.runLocked()
	h.mu.Unlock()
	select {
	case <-s.end:
		return nil
	case <-ctx.Done():
	}
	slow := time.NewTimer(slowTime)
	defer slow.Stop()
	select {
	case <-s.end:
		return nil
	case <-slow.C:
		return h.kill(s)
	}
}

// kill ends a start that hangs.
func (h *held) kill(s *start) error {
	where := s.where()
	hung := &HungError{Step: where.step, Path: where.path}
	_ = signal(s.pidfd, unix.SIGKILL)
	patience := time.NewTimer(h.engine.killTime)
	defer patience.Stop()
	select {
	case <-s.end:
	case <-patience.C:
		if h.abandon(s) {
			hung.PID = s.pid
			return hung
		}
	}
	h.reap(s.child())
	h.engine.free(s)
	return hung
}

// abandon leaves a start to the goroutine, unless its child is gone.
func (h *held) abandon(s *start) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-s.end:
		return false
	default:
	}
	s.abandoned = true
	h.stuck++
	return true
}

// reap reaps a child that has failed, now or when it has exited.
func (h *held) reap(c *Child) {
	if c.PidFD != nil && exits(c.PidFD, shortTime) && h.reaped(c) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dying = append(h.dying, c)
	h.runLocked()
}

func (h *held) reaped(c *Child) bool {
	if !h.engine.config.Reap(c.PID) {
		return false
	}
	if c.PidFD != nil {
		_ = c.PidFD.Close()
	}
	return true
}

// runLocked starts the goroutine, which ends when there is nothing to look at.
func (h *held) runLocked() {
	if !h.running {
		h.running = true
		go h.run()
	}
}

func (h *held) run() {
	for interval := h.look(); interval > 0; interval = h.look() {
		<-time.After(interval)
	}
}

// look returns when to look again, 0 for never.
func (h *held) look() (again time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	again = lookLater
	var starts []*start
	for _, s := range h.starts {
		if h.lookAtLocked(s) {
			continue
		}
		s.looks++
		if s.looks < fewLooks {
			again = lookFirst
		}
		starts = append(starts, s)
	}
	h.starts = starts
	var dying []*Child
	for _, c := range h.dying {
		if !h.reaped(c) {
			dying = append(dying, c)
		}
	}
	h.dying = dying
	if len(starts)+len(dying) == 0 {
		h.running, again = false, 0
	}
	return again
}

// lookAtLocked says whether the child of s has given the memory up.
func (h *held) lookAtLocked(s *start) bool {
	if !s.left() {
		if s.parted() {
			h.engine.freeLow(s)
		}
		return false
	}
	if !s.abandoned {
		close(s.end)
		return true
	}
	h.stuck--
	h.dying = append(h.dying, s.child())
	h.engine.free(s)
	return true
}
