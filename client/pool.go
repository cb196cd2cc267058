package client

import (
	"context"
	"errors"
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

	errZeroPool = errors.New("client: Pool was not made by NewPool")
)

// A Pool keeps one connection to each agent, which all callers share. NewPool makes
// one; Get of a zero Pool fails. It is safe for any number of goroutines, and none of
// them waits for an agent that it has not asked for.
//
// The pool tells a VM that is gone from one that is paused. The next Get replaces a
// connection that has ended. The pool keeps a silent connection, and the commands that
// run over it, for as long as the target does not answer another one either. When
// a paused VM goes on, it goes on with everything. The pool closes it only if a new
// connection to the same target is answered, more than once, and the old one still is
// not. That is so after a VM has been restored from a snapshot. At most 8 replaced
// connections are kept for each target: one more ends the oldest.
//
// A command of a pool's Client may fail to start because the connection had ended, the
// pool closed it as idle, or the agent was shutting down. If it certainly has not
// started, it is started over another connection, once. The same holds for the dialing
// of [Client.DialGuest]. Other requests, such as Ping, are not tried again.
//
// The second try needs the same agent: its greeting has the same BootID and the same
// AgentID as that of the connection before ([Hello]; no id is the same as no id).
// Otherwise the VM was rebooted or replaced, or its agent was restarted or reseeded,
// and the caller may have meant the one before. It gets the first error, joined with
// one that wraps [ErrAnotherAgent]. Get returns a Client of the new one. An agent that
// speaks version 1 does not say who it is: each of its commands, and its second try,
// goes to the VM that has the address then. Clones of a snapshot have the same ids
// until they are reseeded: [Pool.Forget] tells the pool that a VM is gone.
type Pool struct {
	config PoolConfig
	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc

	memory   v1.Memory // for long lines of agents that speak version 1
	commands commandCounts

	running sync.WaitGroup // goroutines; counted under mu while not closed, or by one of them

	mu      sync.Mutex
	closed  bool
	members map[string]*member
	open    map[*link]*member
	watched map[*link]bool // those whose traffic counts does not have yet
	dialing int
	forgets uint64    // calls of Forget
	counts  PoolStats // the counters, and the last error
}

// NewPool returns an empty Pool. The caller closes it.
func NewPool(config PoolConfig) *Pool {
	config.setDefaults()
	p := &Pool{config: config, members: make(map[string]*member), open: make(map[*link]*member), watched: make(map[*link]bool)}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// Get returns the connection to target, and makes one if there is none. It waits until
// the attempt has ended, or ctx. [PoolConfig.DialTimeout] bounds an attempt, which
// begins when its back-off is over. The caller neither closes nor keeps the Client: Get
// costs next to nothing.
//
// Callers that wait for the same target share an attempt, and the end of one caller's
// ctx does not end it for the others. An attempt that fails, fails for all who wait for
// it, unless [PoolConfig.Wait] is set: then Get waits for the next one. It also does that, for
// DialTimeout, if the agent says that it goes down: most often it is being upgraded.
//
// Get returns [ErrPoolClosed], [ErrPoolFull], the error of [ParseTarget], or a
// [*DialError]. A DialError wraps ctx's error if that has ended, that of
// [PoolConfig.Verify], or [ErrForgotten].
func (p *Pool) Get(ctx context.Context, target string) (*Client, error) {
	if p.members == nil {
		return nil, errZeroPool
	}
	target, err := p.key(target)
	if err != nil {
		return nil, err
	}
	for begun := time.Now(); ; {
		c, err := p.get(ctx, target)
		if err == nil || ctx.Err() != nil || !p.awaits(err, begun) {
			return c, err
		}
	}
}

// awaits reports whether the attempt after one that has failed with err is waited for, too.
func (p *Pool) awaits(err error, begun time.Time) bool {
	if remote, ok := errors.AsType[*RemoteError](err); ok && remote.Kind == ShuttingDown && time.Since(begun) < p.config.DialTimeout {
		return true
	}
	return p.config.Wait && MayBecomeReady(err)
}

// get is Get, for one attempt and a target that is written as key does.
func (p *Pool) get(ctx context.Context, target string) (*Client, error) {
	if err := ctx.Err(); err != nil {
		return nil, &DialError{Target: target, Err: err}
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ErrPoolClosed
	}
	m := p.memberLocked(target)
	m.used = time.Now()
	if l := m.current; l != nil && !l.hasEnded() && l.silence() < p.config.ProbeAfter {
		p.mu.Unlock()
		return l.client, nil
	}
	s := m.findLocked()
	p.mu.Unlock()
	select {
	case <-s.done:
		if s.err != nil {
			return nil, s.err
		}
		return s.link.client, nil
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
	if p.members == nil { // NewPool has not made it
		return nil
	}
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
