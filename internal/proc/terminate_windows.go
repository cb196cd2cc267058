package proc

import (
	"time"
)

const (
	pollFirst = time.Millisecond
	pollLast  = 50 * time.Millisecond
)

// terminate ends the tree at once, whatever the grace: Windows knows no request to end that every
// program is told.
func (p *Process) terminate(grace time.Duration) {
	p.ending.Do(func() {
		if !p.hasExited() {
			p.asked.Store(true)
		}
		code := uint32(codeTerminated)
		if grace <= 0 {
			code = codeKilled
		}
		go p.endTree(code)
	})
}

// endTree is stopped by the end of the tree, or by killPatience; reap waits for it.
func (p *Process) endTree(code uint32) {
	defer close(p.ended)
	defer p.cut()
	deadline := time.Now().Add(killPatience)
	for wait := pollFirst; time.Now().Before(deadline); wait = min(2*wait, pollLast) {
		_ = p.job.terminate(code)
		if p.job.empty() && p.hasExited() {
			return
		}
		<-time.After(wait)
	}
	close(p.gaveUp)
}

// cut bounds how long what has left the tree may hold the outputs.
func (p *Process) cut() {
	for _, o := range p.outputs() {
		o.shorten(DrainIdle)
		if o.draining.Load() {
			o.drain(0)
		}
	}
}
