package client

import (
	"errors"
	"slices"
	"time"
)

// reserve makes room for one more connection.
func (p *Pool) reserve() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrPoolClosed
	}
	if limit := p.config.MaxConns; limit > 0 && len(p.open)+p.dialing >= limit && !p.evictOldestLocked() {
		return ErrPoolFull
	}
	p.dialing++
	p.counts.Dials++
	return nil
}

// evictOldestLocked closes the connection that nobody has used for longest. It is called
// with mu held.
func (p *Pool) evictOldestLocked() bool {
	for {
		var oldest *link
		var since time.Time
		for l, m := range p.open {
			inUse, last := l.usage()
			if m.current == l && m.used.After(last) {
				last = m.used // it has just been asked for
			}
			if !inUse && (oldest == nil || last.Before(since)) {
				oldest, since = l, last
			}
		}
		if oldest == nil {
			return false
		}
		if p.evictLocked(oldest) {
			return true
		}
	}
}

var errIdle = errors.New("idle connection closed by the pool")

// evictLocked closes a connection that is not in use. A command that is about to be
// started over it either has marked it as in use, and then it is kept, or finds
// that it is closed before it sends a byte. It is called with mu held.
func (p *Pool) evictLocked(l *link) bool {
	unused, fresh := l.setEndingUnused(errIdle)
	if !unused {
		return false
	}
	if m := p.open[l]; m != nil {
		m.excuse(l)
	}
	p.forgetLocked(l)
	if fresh {
		p.counts.Evicted++
	}
	p.running.Go(func() { l.end(nil) })
	return true
}

// forgetLocked lets l no longer count, nor be handed out. It is called with mu held.
func (p *Pool) forgetLocked(l *link) {
	m, ok := p.open[l]
	if !ok {
		return
	}
	delete(p.open, l)
	if m.current == l {
		m.current = nil
	}
	m.retired = slices.DeleteFunc(m.retired, func(r *link) bool { return r == l })
}

// drop closes a connection of a member that nobody has been given.
func (p *Pool) drop(m *member, l *link) {
	p.mu.Lock()
	p.dialing--
	m.excuse(l)
	p.mu.Unlock()
	l.end(nil)
}
