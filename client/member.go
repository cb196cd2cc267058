package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A member is a target of a Pool. Its fields are guarded by the pool's mu.
type member struct {
	pool   *Pool
	target string

	current *Client   // nil: none
	retired []*Client // replaced, and kept for the commands that run over them
	search  *search   // under way, or nil
	used    time.Time // by Get
	timer   *time.Timer

	examined map[*Client]bool // retired ones that an examination is about

	failures int       // attempts in a row
	failure  error     // of the latest one, nil where there are none
	retryAt  time.Time // of the next
}

// A search is for a connection that works: one attempt, which all who want one
// wait for.
type search struct {
	done   chan struct{} // closed when the result is there
	client *Client
	err    error
}

// member returns target's. It is called with mu held.
func (p *Pool) member(target string) *member {
	m, ok := p.members[target]
	if !ok {
		m = &member{pool: p, target: target, examined: make(map[*Client]bool)}
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
	if p.closed {
		return
	}
	if c := m.current; c != nil {
		inUse, last := c.usage()
		switch {
		case inUse && c.silence() >= p.config.ProbeAfter, m.mayHaveLearnt(c, inUse):
			m.find()
		case !inUse && time.Since(last) >= p.config.IdleTimeout && time.Since(m.used) >= p.config.IdleTimeout:
			p.evict(c)
		}
	}
	for _, c := range slices.Clone(m.retired) {
		if !p.evict(c) && c.old == nil && c.silence() >= p.config.ProbeAfter && !m.examined[c] {
			m.examined[c] = true
			p.running.Go(func() { m.examine(c) }) // stopped by an answer, c's end, or Close
		}
	}
	idle := time.Since(m.used) >= p.config.IdleTimeout
	if m.current == nil && len(m.retired) == 0 && m.search == nil && idle && !time.Now().Before(m.retryAt) {
		delete(p.members, m.target)
		return
	}
	m.timer.Reset(p.tick())
}

// mayHaveLearnt says that c, which speaks version 1 and is used, is to be asked
// whether it still does: as long as its commands say something it is not silent.
// It is called with mu held.
func (m *member) mayHaveLearnt(c *Client, inUse bool) bool {
	return c.old != nil && !c.old.chosen && (inUse || time.Since(m.used) < m.pool.config.ProbeAfter)
}

// find joins the search under way, or begins one. It is called with mu held.
func (m *member) find() *search {
	if m.search == nil {
		s := &search{done: make(chan struct{})}
		m.search = s
		old := m.current
		m.pool.running.Go(func() { // stopped by its time-outs, or by Close
			s.client, s.err = m.look(old)
			m.pool.mu.Lock()
			m.search = nil
			m.pool.mu.Unlock()
			close(s.done)
		})
	}
	return m.search
}

// look returns old where that answers, and else a new connection. Where old is
// late, but comes before the new one, it is old.
func (m *member) look(old *Client) (*Client, error) {
	p := m.pool
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	var pong <-chan error // nil: there is nothing to wait for
	if old != nil && !old.ended() {
		var ok bool
		if pong, ok = m.probe(ctx, old); ok {
			return old, nil
		}
	}
	type result struct {
		client *Client
		err    error
	}
	dialed := make(chan result, 1)
	p.running.Go(func() { // stopped by DialTimeout, or ctx
		c, err := m.dial(ctx)
		dialed <- result{c, err}
	})
	for {
		select {
		case err := <-pong:
			if pong = nil; err != nil {
				continue // it has ended
			}
			cancel()
			p.running.Go(func() {
				if r := <-dialed; r.client != nil {
					p.drop(r.client)
				}
			})
			return old, nil
		case r := <-dialed:
			switch {
			case p.ctx.Err() != nil:
				r.err = ErrPoolClosed
				if r.client != nil {
					p.drop(r.client)
				}
			case r.err == nil && bothOld(old, r.client):
				p.drop(r.client) // the agent is there, and that is all
				return old, nil
			case r.err == nil:
				m.replace(old, r.client)
			}
			if r.err != nil {
				return nil, r.err
			}
			return r.client, nil
		}
	}
}

// bothOld says that c is of no more use than a, of which it is not known whether
// the agent is there: neither has a connection that could be dead.
func bothOld(a, c *Client) bool { return a != nil && !a.ended() && a.old != nil && c.old != nil }

// probe asks c for an answer, for which there is ProbeTimeout. Where it does
// not come, pong is where it still may.
func (m *member) probe(ctx context.Context, c *Client) (pong <-chan error, ok bool) {
	p := m.pool
	p.count(&p.counts.Probes)
	answer := make(chan error, 1)
	p.running.Go(func() { // stopped by the answer, c's end, or ctx
		_, err := c.ask(ctx, ping)
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

// replace makes c the target's connection instead of old, which is judged.
func (m *member) replace(old, c *Client) {
	p := m.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	m.retire(old)
	p.dialing--
	p.open[c], m.current = m, c
	p.running.Go(func() { m.watch(c) })
	if old != nil && !old.ended() && old.old == nil {
		p.running.Go(func() { m.judge(old, c) })
	}
}

// retire lets c, if it is the current one, serve the commands that it has and
// no others. It is called with mu held.
func (m *member) retire(c *Client) {
	if c != nil && m.current == c {
		m.current = nil
		m.retired = append(m.retired, c)
	}
}

// watch waits for the end of c.
func (m *member) watch(c *Client) {
	p := m.pool
	select {
	case <-c.Done():
	case <-p.ctx.Done():
		c.fail(ErrPoolClosed)
	}
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(c)
}

// judge gives a connection that has not answered a probe another ProbeTimeout,
// now that a newer one has shown that the agent is there. Where nothing is heard
// by then, and the newer one answers again, it is dead. Where the newer one does
// not, the VM may have been paused in between, and nothing is known.
func (m *member) judge(c, newer *Client) {
	p := m.pool
	since := time.Now()
	timer := time.NewTimer(p.config.ProbeTimeout)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.Done():
		return
	case <-p.ctx.Done():
		return
	}
	within, cancel := context.WithTimeout(p.ctx, p.config.ProbeTimeout)
	defer cancel()
	if _, err := newer.ask(within, ping); err == nil && c.mux.Heard().Before(since) {
		p.count(&p.counts.Stale)
		c.fail(errStale)
	}
}

func ping(h wire.Head) wire.Message { return &wire.Ping{Head: h} }

// examine finds out whether a retired connection, which commands still use and
// which is silent, is dead.
func (m *member) examine(c *Client) {
	p := m.pool
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(m.examined, c)
	}()
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	if _, ok := m.probe(ctx, c); ok || c.ended() {
		return
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	s := m.find()
	p.mu.Unlock()
	<-s.done // it ends by its time-outs, or with the pool
	if s.err == nil {
		m.judge(c, s.client)
	}
}

var errStale = errors.New("nothing came over it, though the agent answered another connection: has the VM been restored?")

// dial makes a connection, when the back-off has passed, and waits for the
// agent's greeting. It counts as being dialed until replace or drop.
func (m *member) dial(ctx context.Context) (*Client, error) {
	p := m.pool
	if err := m.backOff(ctx); err != nil {
		return nil, err
	}
	if err := p.reserve(); err != nil {
		return nil, err
	}
	c, err := m.connect(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.dialing--
		if ctx.Err() == nil {
			p.counts.DialErrors++
			m.failed(err)
		}
		return nil, err
	}
	m.failures, m.failure, m.retryAt = 0, nil, time.Time{}
	return c, nil
}

func (m *member) backOff(ctx context.Context) error {
	m.pool.mu.Lock()
	wait := time.Until(m.retryAt)
	m.pool.mu.Unlock()
	if wait <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// failed sets the back-off. It is called with mu held.
func (m *member) failed(err error) {
	m.retryAt = time.Now().Add(m.pool.config.backOff(m.failures))
	m.failure = err
	m.failures++
}

// backOff is how long the next attempt waits after one that has failed, and
// failures before that.
func (c *PoolConfig) backOff(failures int) time.Duration {
	wait := c.MinBackoff
	for range failures {
		if wait = min(2*wait, c.MaxBackoff); wait == c.MaxBackoff {
			break
		}
	}
	return wait/2 + rand.N(wait/2+1)
}

// gaveUp is the error of a caller whose context has ended, and says what it
// would have waited for.
func (m *member) gaveUp(err error) error {
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()
	if dial, ok := errors.AsType[*DialError](m.failure); ok {
		err = fmt.Errorf("%w; the attempt before had failed: %w", err, dial.Err)
	}
	return &DialError{Target: m.target, Err: err}
}

func (m *member) connect(ctx context.Context) (*Client, error) {
	config := &m.pool.config
	within, cancel := context.WithTimeout(ctx, config.DialTimeout)
	defer cancel()
	c, err := m.greeted(within)
	if err == nil {
		c.used = time.Now()
		c.another = func(ctx context.Context) (*Client, error) { return m.another(ctx, c) }
		return c, nil
	}
	if dial, ok := errors.AsType[*DialError](err); ok {
		err = dial.Err
	}
	if ctx.Err() == nil && within.Err() != nil {
		err = &timeoutError{config.DialTimeout, err}
	}
	return nil, &DialError{Target: m.target, Err: err}
}

// greeted returns a Client whose agent has shown that it is there.
func (m *member) greeted(ctx context.Context) (*Client, error) {
	r := route{m.dialConn, m.target}
	protocol := m.pool.config.Protocol
	first := protocol
	if protocol == ProtocolAuto {
		first = Protocol2
	}
	c, err := r.client(ctx, first)
	if err == nil {
		if err = c.Ready(ctx); err == nil {
			return c, nil
		}
		_ = c.Close()
	}
	if protocol == ProtocolAuto && speaksVersion1(err) {
		return r.oldClient(false)
	}
	return nil, err
}

func (m *member) dialConn(ctx context.Context) (net.Conn, error) {
	if dial := m.pool.config.Dial; dial != nil {
		return dial(ctx, m.target)
	}
	t, err := ParseTarget(m.target)
	if err != nil {
		return nil, err
	}
	return t.Dial(ctx)
}

// another is for a command that c has not started. What it returns has been
// marked as in use.
func (m *member) another(ctx context.Context, c *Client) (*Client, error) {
	p := m.pool
	p.mu.Lock()
	p.counts.Retries++
	m.retire(c)
	p.mu.Unlock()
	for {
		c, err := p.Get(ctx, m.target)
		if err != nil {
			return nil, err
		}
		if c.use() == nil {
			return c, nil
		}
		// The pool has closed it again, for lack of room, or it has ended.
	}
}
