package proc

import (
	"sync"
	"time"
)

// nudgeTime is how long a nudged terminal has another size: a program that is told of two
// changes at once may look at the size only after the second one.
const nudgeTime = 100 * time.Millisecond

// A nudge is the other size that a terminal has for a moment.
type nudge struct {
	mu    sync.Mutex
	timer *time.Timer // ends it; nil: the terminal has its own size
	own   Size
	other Size
}

// Nudge has a full-screen program draw its screen again: its terminal has one row less for a
// moment, or one more if it has only one. It does not wait, and does nothing without a terminal, or
// while the terminal still has the other size.
func (p *Process) Nudge() {
	if p.terminal == nil {
		return
	}
	n := &p.nudge
	n.mu.Lock()
	defer n.mu.Unlock()
	size, err := p.terminal.size()
	if err != nil || size.Rows == 0 || n.timer != nil && size == n.other {
		return
	}
	if n.timer != nil { // somebody has resized the terminal meanwhile
		n.timer.Stop()
		n.timer = nil
	}
	n.own, n.other = size, size
	n.other.Rows--
	if n.other.Rows == 0 {
		n.other.Rows = 2
	}
	if p.terminal.resize(n.other) == nil {
		n.timer = time.AfterFunc(nudgeTime, p.endNudge)
	}
}

// endNudge gives a nudged terminal its size back, unless somebody has resized it meanwhile.
func (p *Process) endNudge() {
	n := &p.nudge
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.timer == nil {
		return
	}
	n.timer.Stop()
	n.timer = nil
	if now, err := p.terminal.size(); err == nil && now == n.other {
		_ = p.terminal.resize(n.own)
	}
}
