package client

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/v1"
)

// Errors of a [Pool].
var (
	// ErrPoolClosed is wrapped by what fails because the Pool has been closed.
	ErrPoolClosed = errors.New("pool is closed")

	// ErrPoolFull says that [PoolConfig.MaxConns] connections are open and all
	// of them in use.
	ErrPoolFull = errors.New("pool is full: all connections are in use")
)

// A PoolConfig says how a [Pool] works. Its zero value is good for most.
type PoolConfig struct {
	// Dial makes a connection to a target. nil: [ParseTarget] and [Target.Dial].
	// With a Dial, targets are names that only it understands. It must return
	// soon after ctx has ended.
	Dial func(ctx context.Context, target string) (net.Conn, error)

	// DialTimeout is how long an attempt may take, the agent's greeting
	// included, for which the pool waits. 0: 10 seconds.
	DialTimeout time.Duration

	// Verify is called for each new connection, after the agent's greeting and
	// before anybody gets the connection. An error closes it, and is wrapped by
	// the [*DialError] of those who wait; the attempt has then failed as any other
	// does, and the next one waits. nil: every agent is taken. What h says the
	// guest says: Verify finds out a VM that was replaced by another one at the
	// same address, and no guest that lies.
	//
	// An agent that speaks version 1 says nothing: h has Protocol 1 and no more,
	// and each of its commands goes over a connection that nobody verifies. To
	// keep such agents out, return an error for them, or set Protocol.
	//
	// Verify is called by several goroutines. Those who wait for the connection
	// wait for it, and so does [Pool.Close].
	Verify func(target string, h Hello) error

	// After a failed attempt the next one to the same target waits for
	// MinBackoff, then twice as long each time, to MaxBackoff; in truth for a
	// random time between half of that and all of it. A connection has failed, too,
	// if it ends before MaxBackoff has passed. If the agent had answered a request by
	// then (by anything but shutting_down or limit), and MinBackoff had passed, half
	// of the failures are forgotten: an agent that is restarted is there again at
	// once. Of an agent that speaks version 1 a connection of a command has failed if
	// it ends before the agent has said anything; such connections have a back-off of
	// their own. 0: 100 ms and 5 seconds.
	MinBackoff, MaxBackoff time.Duration

	// A connection over which nothing has come for ProbeAfter is asked for an
	// answer before it is used again, and now and then while it is in use. One
	// that does not answer within ProbeTimeout may be dead, or its VM paused:
	// another connection is tried beside it. One that was replaced, and is kept for
	// its commands, is asked every ProbeAfter, whatever else comes over it. 0: 15 and
	// 2 seconds.
	ProbeAfter, ProbeTimeout time.Duration

	// IdleTimeout is how long a connection that nobody uses is kept. 0: 5 minutes.
	IdleTimeout time.Duration

	// MaxConns is how many connections may be open, or being opened, at a time.
	// Where there are as many, the one that has been idle for longest gives way.
	// One that is silent and in use counts, and where there is no room for another
	// connection to its target, it is not found out. 0: no limit.
	//
	// An agent that speaks protocol version 1 counts as one connection, in
	// PoolStats too, whatever it has: each of its commands has one of its own,
	// which is neither limited nor counted.
	MaxConns int

	// Protocol is the version to speak with all agents. [ProtocolAuto], which is
	// 0, finds out by connecting, again when a connection is replaced, and every
	// ProbeAfter or so of an agent that speaks version 1 and is in use.
	Protocol Protocol
}

func (c *PoolConfig) setDefaults() {
	for d, value := range map[*time.Duration]time.Duration{
		&c.DialTimeout:  10 * time.Second,
		&c.MinBackoff:   100 * time.Millisecond,
		&c.MaxBackoff:   5 * time.Second,
		&c.ProbeAfter:   15 * time.Second,
		&c.ProbeTimeout: 2 * time.Second,
		&c.IdleTimeout:  5 * time.Minute,
	} {
		if *d <= 0 {
			*d = value
		}
	}
	c.MaxBackoff = max(c.MaxBackoff, c.MinBackoff)
}

// A Pool keeps one connection to each agent, which all callers share. It is
// safe for any number of goroutines, and none of them waits for an agent that
// it has not asked for.
//
// The pool tells a VM that is gone from one that is paused. A connection that
// has ended is replaced at the next Get. One that is silent is kept, with the
// commands that run over it, for as long as the target does not answer another
// one either: a paused VM, when it goes on, goes on with everything. It is
// closed only when a new connection to the same target is answered, more than
// once, and the old one still is not, as after a VM has been restored from a
// snapshot. At most 8 replaced connections are kept for each target: one more ends
// the oldest.
//
// A command of a Client from a Pool that certainly has not started, because the
// connection had ended, the pool closed it as idle, or the agent was shutting
// down, is started over another connection, once, and so is the dialing of
// [Client.DialGuest]. Other requests, such as Ping, are not tried again.
//
// It is started only if the same agent answers there: one whose greeting has the
// same BootID and the same AgentID as that of the connection before ([Hello]; no
// id is the same as no id). Otherwise the VM was rebooted or replaced, or its agent
// was restarted or reseeded, and the caller, who may have meant the one that was
// there, gets the first error, joined with one that wraps [ErrAnotherAgent]. Get
// returns a Client of the new one. An agent that speaks version 1 does not say who
// it is: each of its commands goes to the VM that has the address then, and so does
// the second try of one. Clones of a snapshot say the same of themselves until they
// are reseeded: [Pool.Forget] tells the pool that a VM is gone.
type Pool struct {
	config PoolConfig
	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc

	memory v1.Memory // for long lines of agents that speak version 1

	running sync.WaitGroup // goroutines; counted under mu while not closed, or by one of them

	mu      sync.Mutex
	closed  bool
	members map[string]*member
	open    map[*Client]*member
	dialing int
	forgets uint64    // calls of Forget
	counts  PoolStats // the counters of it
}

// NewPool returns an empty Pool. The caller closes it.
func NewPool(config PoolConfig) *Pool {
	config.setDefaults()
	p := &Pool{config: config, members: make(map[string]*member), open: make(map[*Client]*member)}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// Get returns the connection to target, which it makes where there is none. The
// caller does not close it, nor keep it: Get costs next to nothing.
//
// Attempts are shared by all who wait for the same target, and one of them going
// away does not end it for the others. An attempt that fails, fails for all who
// wait for it; after one that has failed, the next waits for its back-off.
// Get returns [ErrPoolClosed], [ErrPoolFull], what [ParseTarget] says is wrong
// with target, or a [*DialError], which wraps ctx's error if that has ended, that of
// [PoolConfig.Verify], or [ErrForgotten].
func (p *Pool) Get(ctx context.Context, target string) (*Client, error) {
	target, err := p.key(target)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, &DialError{Target: target, Err: err}
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrPoolClosed
	}
	m := p.member(target)
	m.used = time.Now()
	if c := m.current; c != nil && !c.hasEnded() && c.silence() < p.config.ProbeAfter {
		p.mu.Unlock()
		return c, nil
	}
	s := m.find()
	p.mu.Unlock()
	select {
	case <-s.done:
		return s.client, s.err
	case <-ctx.Done():
		return nil, m.gaveUp(ctx.Err())
	}
}

// key returns the one name of a target that may be written in several ways.
func (p *Pool) key(target string) (string, error) {
	if p.config.Dial != nil {
		return target, nil
	}
	t, err := ParseTarget(target)
	return t.String(), err
}

// Close closes all connections, and waits until the pool's goroutines have
// ended. Commands under way fail with errors that wrap [ErrLost] and
// [ErrPoolClosed]. Close is idempotent.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	for _, m := range p.members {
		m.timer.Stop()
	}
	p.mu.Unlock()
	p.cancel(ErrPoolClosed)
	p.running.Wait()
	return nil
}

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
	for c := range p.open {
		if inUse, _ := c.usage(); inUse {
			s.InUse++
		}
	}
	return s
}

// reserve makes room for one more connection.
func (p *Pool) reserve() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrPoolClosed
	}
	if limit := p.config.MaxConns; limit > 0 && len(p.open)+p.dialing >= limit && !p.evictOldest() {
		return ErrPoolFull
	}
	p.dialing++
	p.counts.Dials++
	return nil
}

// evictOldest is called with mu held.
func (p *Pool) evictOldest() bool {
	for {
		var oldest *Client
		var since time.Time
		for c, m := range p.open {
			inUse, last := c.usage()
			if m.current == c && m.used.After(last) {
				last = m.used // it has just been asked for
			}
			if !inUse && (oldest == nil || last.Before(since)) {
				oldest, since = c, last
			}
		}
		if oldest == nil {
			return false
		}
		if p.evict(oldest) {
			return true
		}
	}
}

var errIdle = errors.New("idle connection closed by the pool")

// evict closes a connection that is not in use. A command that is about to be
// started over it either has marked it as in use, and then it is kept, or finds
// that it is closed before it sends a byte. It is called with mu held.
func (p *Pool) evict(c *Client) bool {
	unused, fresh := c.endUnused(errIdle)
	if !unused {
		return false
	}
	if m := p.open[c]; m != nil {
		m.excuse(c)
	}
	p.forget(c)
	if fresh {
		p.counts.Evicted++
	}
	p.running.Go(func() { _ = c.Close() })
	return true
}

// forget has c no longer count, nor handed out. It is called with mu held.
func (p *Pool) forget(c *Client) {
	m, ok := p.open[c]
	if !ok {
		return
	}
	delete(p.open, c)
	if m.current == c {
		m.current = nil
	}
	m.retired = slices.DeleteFunc(m.retired, func(r *Client) bool { return r == c })
}

// drop closes a connection of m's that nobody has been given.
func (p *Pool) drop(m *member, c *Client) {
	p.mu.Lock()
	p.dialing--
	m.excuse(c)
	p.mu.Unlock()
	_ = c.Close()
}

func (p *Pool) count(counter *uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*counter++
}
