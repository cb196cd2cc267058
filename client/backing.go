package client

import (
	"math/rand/v2"
	"time"
)

// A backing says how long the attempts to reach a target wait. A connection counts
// as a failure from the moment it is made until it was of use: a caller that dials
// again before that, because it has ended or takes no requests, waits. An answer alone
// is not enough, as a guest could answer once on each of many connections: if it has
// ended it must have lived for MaxBackoff. If it was answered and has lived for
// MinBackoff, half of the failures are forgotten. The pool's mu guards it.
type backing struct {
	failures int       // in a row
	failure  error     // the latest one's; nil: there was none, or it is not over
	retryAt  time.Time // of the next attempt
	latest   *Client   // the latest connection, if it has not been of use yet
}

// wait returns how long the next attempt is to wait.
func (b *backing) wait() time.Duration { return time.Until(b.retryAt) }

// failed counts an attempt that has failed.
func (b *backing) failed(config *PoolConfig, err error) {
	b.retryAt = time.Now().Add(config.backOff(b.failures))
	b.failure = err
	b.failures++
}

// made counts a connection that may turn out to be of no use.
func (b *backing) made(config *PoolConfig, c *Client) {
	b.failed(config, nil)
	b.latest = c
}

// settle forgets the failures if the latest connection was of use, and otherwise
// keeps why it ended.
func (b *backing) settle(config *PoolConfig, target string) {
	c := b.latest
	if c == nil {
		return
	}
	age, ended := c.age(), c.hasEnded()
	useful := c.answered.Load() && age >= config.MinBackoff
	switch {
	case age >= config.MaxBackoff, useful && !ended:
		*b = backing{}
	case ended:
		b.failure, b.latest = &DialError{Target: target, Err: c.lost()}, nil
		if useful { // most often an agent that is being restarted
			b.failures /= 2
		}
	}
}

// excuse takes back what made has counted: c ends because the pool closes it.
func (m *member) excuse(c *Client) {
	if b := &m.backing; b.latest == c {
		b.failures--
		b.retryAt, b.latest = time.Time{}, nil
	}
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
