package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A member is a target of a Pool. Its fields are guarded by the pool's mu.
//
//	in the pool → dropped: nobody asks for it; another member may take its place
//	            → forgotten: its VM is gone
type member struct {
	pool   *Pool
	target string

	current *link     // nil: none
	retired []*link   // replaced, and kept for the commands that run over them
	search  *search   // under way, or nil
	silent  time.Time // when a probe of the current one was not answered; zero: none was since it was heard
	warned  bool      // the log has been told that attempts fail
	used    time.Time // by Get
	timer   *time.Timer

	examined map[*link]bool // retired ones that an examination is about

	pace      pace // of version 1's commands; it guards itself
	backing   backing
	forgotten bool   // by Forget: another member has the target, or will
	dropped   bool   // for lack of interest
	forgets   uint64 // the pool's, when it was dropped
}

// memberLocked returns target's. It is called with mu held.
func (p *Pool) memberLocked(target string) *member {
	m, ok := p.members[target]
	if !ok {
		m = &member{pool: p, target: target, examined: make(map[*link]bool)}
		m.pace.config = &p.config
		m.timer = time.AfterFunc(p.tick(), m.tend)
		p.members[target] = m
	}
	return m
}

// tick is how often a member is looked after.
func (p *Pool) tick() time.Duration { return min(p.config.ProbeAfter, p.config.IdleTimeout) }

// tend closes what has been idle for long, probes what is in use and silent,
// and forgets targets that nobody asks for.
func (m *member) tend() {
	p := m.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || m.forgotten {
		return
	}
	if l := m.current; l != nil {
		if !m.silent.IsZero() && l.mux.Heard().After(m.silent) {
			p.running.Go(func() { m.setSilent(false) }) // without mu
		}
		inUse, last := l.usage()
		switch {
		case inUse && l.silence() >= p.config.ProbeAfter, m.mayHaveLearntLocked(l, inUse):
			m.findLocked()
		case !inUse && time.Since(last) >= p.config.IdleTimeout && time.Since(m.used) >= p.config.IdleTimeout:
			p.evictLocked(l)
		}
	}
	for _, l := range slices.Clone(m.retired) {
		if !p.evictLocked(l) && l.old == nil && l.unreplied() >= p.config.ProbeAfter && !m.examined[l] {
			m.examined[l] = true
			p.running.Go(func() { m.examine(l) }) // stopped by an answer, l's end, or Close
		}
	}
	idle := time.Since(m.used) >= p.config.IdleTimeout
	if m.current == nil && len(m.retired) == 0 && m.search == nil && idle && m.backing.wait() <= 0 {
		delete(p.members, m.target)
		m.dropped, m.forgets = true, p.forgets
		return
	}
	m.timer.Reset(p.tick())
}

// mayHaveLearntLocked reports whether l, which speaks version 1 and is used, is to be asked
// whether it still does: as long as its commands say something it is not silent.
// It is called with mu held.
func (m *member) mayHaveLearntLocked(l *link, inUse bool) bool {
	return l.old != nil && !l.old.chosen && (inUse || time.Since(m.used) < m.pool.config.ProbeAfter)
}

// retireLocked lets l, if it is the current one, serve the commands that it has and
// no others. It is called with mu held.
func (m *member) retireLocked(l *link) {
	if l != nil && m.current == l {
		m.current = nil
		m.retired = append(m.retired, l)
		m.boundRetiredLocked()
	}
}

// maxRetired is how many replaced connections a target may have for the commands that
// run over them. A guest that never ends a command would have them add up.
const maxRetired = 8

var errTooManyRetired = fmt.Errorf("%w: replaced by %d newer connections to the same agent", ErrLost, maxRetired)

// boundRetiredLocked ends the oldest of the replaced connections if there are too many. It
// is called with mu held.
func (m *member) boundRetiredLocked() {
	p := m.pool
	if len(m.retired) > maxRetired {
		for _, l := range slices.Clone(m.retired) {
			p.evictLocked(l) // if nobody uses it
		}
	}
	for len(m.retired) > maxRetired {
		l := m.retired[0]
		if l.setEnding(errTooManyRetired) {
			p.counts.Stale++
		}
		p.forgetLocked(l)
		m.retired = slices.DeleteFunc(m.retired, func(r *link) bool { return r == l }) // if the pool had forgotten it
		p.running.Go(func() { l.end(nil) })
	}
}

// linksLocked returns those that the target has. It is called with mu held.
func (m *member) linksLocked() []*link {
	all := slices.Clone(m.retired)
	if m.current != nil {
		all = append(all, m.current)
	}
	return all
}

// watch waits for the end of l.
func (m *member) watch(l *link) {
	p := m.pool
	select {
	case <-l.done:
	case <-p.ctx.Done():
		l.end(context.Cause(p.ctx))
	}
	p.mu.Lock()
	p.forgetLocked(l)
	p.counts.addTraffic(l)
	delete(p.watched, l)
	if l.wasLost() {
		p.counts.Lost++
	}
	p.mu.Unlock()
	m.logEnd(l)
}

// judge gives a connection that has not answered a probe another ProbeTimeout,
// now that a newer one has shown that the agent is there. If it does not answer by
// then, and the newer one answers again, it is dead. If the newer one does not
// answer, the VM may have been paused in between, and nothing is known. Nothing
// counts but an answer: a guest can send any bytes without meaning to go on.
func (m *member) judge(l, newer *link) {
	p := m.pool
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	answered := make(chan struct{})
	p.running.Go(func() { // stopped by the answer, l's end, or cancel
		defer close(answered)
		_, _ = l.ask(ctx, ping)
	})
	timer := time.NewTimer(p.config.ProbeTimeout)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-answered: // or l has ended, or the pool
		return
	}
	within, stop := context.WithTimeout(p.ctx, p.config.ProbeTimeout)
	defer stop()
	if _, err := newer.ask(within, ping); err != nil {
		return
	}
	select {
	case <-answered:
	default:
		if l.setEnding(errStale) {
			p.count(&p.counts.Stale)
		}
		l.end(nil)
	}
}

// examine finds out whether a retired connection, which commands still use and
// which is silent, is dead.
func (m *member) examine(l *link) {
	p := m.pool
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(m.examined, l)
	}()
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	if _, ok := m.probe(ctx, l); ok || l.hasEnded() {
		return
	}
	p.mu.Lock()
	if p.closed || m.forgotten {
		p.mu.Unlock()
		return
	}
	s := m.findLocked()
	p.mu.Unlock()
	<-s.done // it ends by its time-outs, or with the pool
	if s.err == nil {
		m.judge(l, s.link)
	}
}

var errStale = errors.New("no data, while the agent answered on another connection: the VM was probably restored")
