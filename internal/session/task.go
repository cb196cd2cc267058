package session

import (
	"fmt"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A task is what a host has begun and may end by its id: an execution or a
// forwarding. It is the connection's until it has been answered for.
type task interface {
	// terminate ends it. The first reason is the one that counts. It does not wait.
	terminate(reason wire.Reason, grace time.Duration)

	// disconnected carries out the rule for a host that has gone away.
	disconnected()

	// check takes each lock that a request needs. It says whether it has started.
	check() bool
}

// has says whether id is that of a task that has not been answered for. Only
// dispatch adds tasks: what it has seen free stays free.
func (c *conn) has(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, taken := c.execs[id]
	return taken
}

// forget has a task no longer count. The host, which learns of its end after
// that, may use its id again.
func (c *conn) forget(id uint64, x share) {
	c.mu.Lock()
	delete(c.execs, id)
	c.mu.Unlock()
	c.server.shares.give(x)
}

func (c *conn) find(id uint64) (task, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t, ok := c.execs[id]; ok {
		return t, nil
	}
	return nil, fmt.Errorf("%w: no exec %d is running on this connection", errNoExec, id)
}

// discard does away with the streams of a task that will not be.
func (c *conn) discard(streams ...uint32) {
	for _, id := range streams {
		c.mux.Disclaim(id)
	}
}

// beforeStart is the answer for a task that was terminated before it had started.
func beforeStart(reason wire.Reason) error {
	switch reason {
	case wire.ReasonShutdown:
		return errShutdown
	case wire.ReasonLimit:
		return mux.ErrInput
	default:
		return fmt.Errorf("%w: killed before it had started", errBadRequest)
	}
}
