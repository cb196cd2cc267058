package cgroup

import (
	"slices"
	"time"
)

// keep makes cgroups ahead and removes them behind, until the pool is closed.
func (p *pool) keep() {
	defer close(p.stopped)
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-p.closed:
			return
		case <-p.wake:
			if p.removeBehind() {
				retry.Reset(minRetry)
			}
		case <-retry.C:
			if wait := p.retryLeft(); wait > 0 {
				retry.Reset(wait)
			}
		}
		p.makeAhead()
	}
}

// makeAhead stops at the first that cannot be made: who takes one learns why.
func (p *pool) makeAhead() {
	for p.wantsMore() {
		g, err := p.newGroup()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.ready = append(p.ready, g)
		p.mu.Unlock()
	}
}

func (p *pool) wantsMore() bool {
	select {
	case <-p.closed:
		return false
	default:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ready) < ahead
}

// removeBehind removes what was given back. It says whether something is left
// that was not before.
func (p *pool) removeBehind() (more bool) {
	p.mu.Lock()
	groups := p.behind
	p.behind = nil
	p.mu.Unlock()
	var left []string
	for _, g := range groups {
		g.close()
		if removeTree(g.path) != nil {
			left = append(left, g.path)
		}
	}
	p.leave(left)
	return len(left) > 0
}

// leave adds to what is left.
func (p *pool) leave(paths []string) {
	if len(paths) == 0 {
		return
	}
	p.mu.Lock()
	p.left = append(p.left, paths...)
	more := len(p.left) - maxLeft
	if more > 0 {
		p.left = append(p.left[:0], p.left[more:]...)
	}
	p.retry = minRetry
	p.mu.Unlock()
	if more > 0 {
		p.tellFull.Do(func() { p.full(maxLeft) })
	}
}

// retryLeft tries again to remove what is left. It returns after how long that is to
// be done again, or 0 if nothing is left.
func (p *pool) retryLeft() time.Duration {
	p.mu.Lock()
	paths := slices.Clone(p.left)
	p.mu.Unlock()
	var still []string
	for _, path := range paths {
		if removeTree(path) != nil {
			still = append(still, path)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = still
	if len(still) == 0 {
		return 0
	}
	p.retry = min(max(2*p.retry, minRetry), maxRetry)
	return p.retry
}
