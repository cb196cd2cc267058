package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// dial makes a connection, when the back-off has passed, and waits for the
// agent's greeting. It counts as being dialed until replace or drop.
func (m *member) dial(ctx context.Context) (*link, error) {
	p := m.pool
	if err := m.backOff(ctx); err != nil {
		return nil, err
	}
	if err := p.reserve(); err != nil {
		m.notMade(err)
		return nil, err
	}
	begun := time.Now()
	l, err := m.connect(ctx)
	if err != nil {
		m.dialFailed(err, ctx.Err() != nil)
		return nil, err
	}
	p.mu.Lock()
	m.backing.made(&p.config, l)
	m.warned = false
	p.mu.Unlock()
	m.logConnected(l, time.Since(begun))
	return l, nil
}

// notMade takes note of an attempt for which there is no room.
func (m *member) notMade(err error) {
	if !errors.Is(err, ErrPoolFull) {
		return
	}
	p := m.pool
	p.mu.Lock()
	p.counts.Full++
	p.counts.LastError, p.counts.LastErrorAt = (&DialError{Target: m.target, Err: err}).Error(), time.Now()
	first := !m.warned
	m.warned = true
	p.mu.Unlock()
	m.logFull(err, first)
}

// dialFailed takes note of an attempt that has failed. unwanted: nobody waits for it any
// more, and it may be why.
func (m *member) dialFailed(err error, unwanted bool) {
	p := m.pool
	p.mu.Lock()
	p.dialing--
	if unwanted {
		p.mu.Unlock()
		return
	}
	first := !m.warned
	m.warned = true
	p.counts.DialErrors++
	p.counts.LastError, p.counts.LastErrorAt = err.Error(), time.Now()
	m.backing.failed(&p.config, err)
	failures, wait := m.backing.failures, m.backing.wait()
	p.mu.Unlock()
	m.logFailure(err, first, failures, wait)
}

func (m *member) backOff(ctx context.Context) error {
	m.pool.mu.Lock()
	m.backing.settle(&m.pool.config, m.target)
	wait := m.backing.wait()
	m.pool.mu.Unlock()
	return sleep(ctx, wait)
}

// gaveUp is the error of a caller whose context has ended, and says what it
// would have waited for.
func (m *member) gaveUp(err error) error {
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()
	if dial, ok := errors.AsType[*DialError](m.backing.failure); ok {
		err = fmt.Errorf("%w; first attempt: %w", err, dial.Err)
	}
	return &DialError{Target: m.target, Err: err}
}

// connect returns a link whose agent has shown that it is there. Its Client is the one
// that Get hands out.
func (m *member) connect(ctx context.Context) (*link, error) {
	config := &m.pool.config
	within, cancel := context.WithTimeout(ctx, config.DialTimeout)
	defer cancel()
	c, err := m.greeted(within)
	if err == nil {
		l := c.current()
		if err := m.verify(l); err != nil {
			return nil, &DialError{Target: m.target, Err: errors.Join(err, c.Close())}
		}
		l.mux.LimitWindows(config.WindowMemory)
		l.used = time.Now()
		c.another, c.commands = m.another, &m.pool.commands
		return l, nil
	}
	if dial, ok := errors.AsType[*DialError](err); ok {
		err = dial.Err
	}
	if ctx.Err() == nil && within.Err() != nil {
		err = &timeoutError{config.DialTimeout, err}
	}
	return nil, &DialError{Target: m.target, Err: err}
}

// greeted returns a Client whose agent has shown that it is there. Its link stays the
// same: the protocol version is found out here.
func (m *member) greeted(ctx context.Context) (*Client, error) {
	r := route{dial: m.dialConn, target: m.target, pace: &m.pace, memory: &m.pool.memory}
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

// verify asks the pool's owner about l, which has been greeted or speaks version 1.
func (m *member) verify(l *link) error {
	verify := m.pool.config.Verify
	if verify == nil {
		return nil
	}
	if err := verify(m.target, l.hello.clone()); err != nil {
		return fmt.Errorf("%w: %w", errUnwanted, err)
	}
	return nil
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
