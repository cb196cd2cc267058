package client

// PoolStats is how a [Pool] is doing, and what it has done since it was made.
type PoolStats struct {
	Targets int // asked for of late
	Conns   int // open
	InUse   int // of those, with commands running or requests under way
	Dialing int // attempts under way

	Dials         uint64 // attempts
	DialErrors    uint64 // of those, failed; not those that were no longer needed
	Probes        uint64 // of connections that were silent
	ProbeTimeouts uint64 // of those, not answered in time
	Stale         uint64 // connections closed because a newer one was answered and they were not, or for too many newer ones
	Evicted       uint64 // unused connections closed: idle, replaced, or for MaxConns
	Retries       uint64 // commands, and guest connections, tried over another connection
	Forgotten     uint64 // connections closed by Forget
}

// Stats returns a snapshot.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.counts
	s.Targets, s.Conns, s.Dialing = len(p.members), len(p.open), p.dialing
	for l := range p.open {
		if inUse, _ := l.usage(); inUse {
			s.InUse++
		}
	}
	return s
}

func (p *Pool) count(counter *uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*counter++
}
