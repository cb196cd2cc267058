package client

import (
	"context"
	"errors"
	"time"
)

// A search is one attempt to find a connection that works. All who want one wait
// for it.
type search struct {
	ctx    context.Context // ends with the pool, or by cancel
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when the result is there
	link   *link
	err    error
}

// findLocked joins the search under way, or begins one. It is called with mu held.
func (m *member) findLocked() *search {
	if m.search == nil {
		s := &search{done: make(chan struct{})}
		s.ctx, s.cancel = context.WithCancelCause(m.pool.ctx)
		m.search = s
		old := m.current
		m.pool.running.Go(func() { // stopped by its time-outs, Forget, or Close
			defer s.cancel(nil)
			s.link, s.err = m.look(s.ctx, old)
			m.pool.mu.Lock()
			m.search = nil
			m.pool.mu.Unlock()
			close(s.done)
		})
	}
	return m.search
}

// look returns old if that answers, and a new connection otherwise. If old answers
// late, but before there is a new one, it is old.
func (m *member) look(ctx context.Context, old *link) (*link, error) {
	p := m.pool
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	var pong <-chan error // nil: there is nothing to wait for
	if old != nil && !old.hasEnded() {
		var ok bool
		if pong, ok = m.probe(within, old); ok {
			m.answers(old)
			return old, nil
		}
		if pong != nil { // else it has ended
			m.setSilent(true)
		}
	}
	type result struct {
		link *link
		err  error
	}
	dialed := make(chan result, 1)
	p.running.Go(func() { // stopped by DialTimeout, or within
		l, err := m.dial(within)
		dialed <- result{l, err}
	})
	for {
		select {
		case err := <-pong:
			if pong = nil; err != nil {
				continue // it has ended
			}
			m.answers(old)
			cancel()
			p.running.Go(func() {
				if r := <-dialed; r.link != nil {
					p.drop(m, r.link)
				}
			})
			return old, nil
		case r := <-dialed:
			switch {
			case ctx.Err() != nil:
				if r.link != nil {
					p.drop(m, r.link)
				}
				return nil, m.stopped(ctx)
			case r.err != nil:
				return nil, r.err
			case bothOld(old, r.link):
				p.drop(m, r.link) // the agent is there, and that is all
				return old, nil
			case !m.replace(old, r.link):
				p.drop(m, r.link)
				return nil, m.stopped(ctx)
			}
			return r.link, nil
		}
	}
}

// answers notes that the current connection has answered a probe. With version 1 the
// probe was a new connection, and so the agent can be reached.
func (m *member) answers(l *link) {
	if l.old != nil {
		m.pool.mu.Lock()
		m.backing = backing{}
		m.pool.mu.Unlock()
	}
	m.setSilent(false)
}

// setSilent notes whether the current connection has left a probe without an answer.
func (m *member) setSilent(silent bool) {
	m.pool.mu.Lock()
	changed := m.silent.IsZero() == silent
	m.silent = time.Time{}
	if silent {
		m.silent = time.Now()
	}
	m.pool.mu.Unlock()
	switch {
	case changed && silent:
		m.log().Warn("agent does not answer: its VM may be paused, or the connection dead")
	case changed:
		m.logAnswers()
	}
}

// bothOld reports whether both a and b speak version 1. Neither has a connection that
// could be dead, and so b is of no more use than a.
func bothOld(a, b *link) bool { return a != nil && !a.hasEnded() && a.old != nil && b.old != nil }

// probe asks l for an answer, and waits for ProbeTimeout. If none has come by then,
// pong is the channel on which it still may.
func (m *member) probe(ctx context.Context, l *link) (pong <-chan error, ok bool) {
	p := m.pool
	p.count(&p.counts.Probes)
	answer := make(chan error, 1)
	p.running.Go(func() { // stopped by the answer, l's end, or ctx
		_, err := l.ask(ctx, ping)
		answer <- err
	})
	timer := time.NewTimer(p.config.ProbeTimeout)
	defer timer.Stop()
	select {
	case err := <-answer:
		return nil, err == nil
	case <-timer.C:
		p.count(&p.counts.ProbeTimeouts)
		return answer, false
	}
}

// stopped is the error of a search whose ctx has ended.
func (m *member) stopped(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, ErrForgotten) {
		return &DialError{Target: m.target, Err: cause}
	}
	return cause
}

// replace makes l the target's connection instead of old, which is judged. It
// returns false if the target has been forgotten.
func (m *member) replace(old, l *link) bool {
	p := m.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.forgotten {
		return false
	}
	m.retireLocked(old)
	p.dialing--
	p.open[l], p.watched[l] = m, true
	if !m.silent.IsZero() {
		p.running.Go(m.logAnswers) // without mu
	}
	m.current, m.silent = l, time.Time{}
	p.running.Go(func() { m.watch(l) })
	if old != nil && !old.hasEnded() && old.old == nil {
		p.running.Go(func() { m.judge(old, l) })
	}
	return true
}
