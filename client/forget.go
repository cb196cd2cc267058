package client

import "fmt"

// Forget says that the VM of target is gone, and that another one may have its
// address. It closes the connections to it: what runs over them fails with
// errors that wrap [ErrForgotten] and [ErrLost], and nothing begins over them any
// more. No Client that was got before reaches another connection. An attempt
// under way ends, and those who wait for it get a [*DialError] that wraps
// ErrForgotten. The back-off is forgotten, too: the next Get dials at once.
//
// Forget does not wait for the ends of the connections. It does nothing if the pool
// does not know the target.
func (p *Pool) Forget(target string) {
	target, err := p.key(target)
	if err != nil {
		return // there is no connection to it
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgets++
	m, ok := p.members[target]
	if !ok || p.closed {
		return
	}
	delete(p.members, target)
	m.forgotten = true
	m.timer.Stop()
	if m.search != nil {
		m.search.cancel(ErrForgotten)
	}
	for _, l := range m.linksLocked() {
		if l.setEnding(fmt.Errorf("%w: %w", ErrLost, ErrForgotten)) {
			p.counts.Forgotten++
		}
		p.forgetLocked(l)
		p.running.Go(func() { l.end(nil) })
	}
}
