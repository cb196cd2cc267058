package client

import (
	"errors"
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
	latest   *link     // the latest connection, if it has not been of use yet
}

// wait returns how long the next attempt is to wait.
func (b *backing) wait() time.Duration { return time.Until(b.retryAt) }

// lastError is the text of failure, without the target.
func (b *backing) lastError() string {
	if dial, ok := errors.AsType[*DialError](b.failure); ok {
		return dial.Err.Error()
	}
	return ""
}

// inARow returns how many attempts have failed. A connection that may yet turn out to be of
// use does not count.
func (b *backing) inARow() int {
	if b.latest != nil {
		return b.failures - 1
	}
	return b.failures
}

// failed counts an attempt that has failed.
func (b *backing) failed(config *PoolConfig, err error) {
	b.retryAt = time.Now().Add(config.backOff(b.failures))
	b.failure = err
	b.failures++
}

// made counts a connection that may turn out to be of no use.
func (b *backing) made(config *PoolConfig, l *link) {
	b.failed(config, nil)
	b.latest = l
}

// settle forgets the failures if the latest connection was of use, and otherwise
// keeps why it ended.
func (b *backing) settle(config *PoolConfig, target string) {
	l := b.latest
	if l == nil {
		return
	}
	age, ended := l.age(), l.hasEnded()
	useful := l.answered.Load() && age >= config.MinBackoff
	switch {
	case age >= config.MaxBackoff, useful && !ended:
		*b = backing{}
	case ended:
		b.failure, b.latest = &DialError{Target: target, Err: l.lost()}, nil
		if useful { // most often an agent that is being restarted
			b.failures /= 2
		}
	}
}

// excuse takes back what made has counted: l ends because the pool closes it.
func (m *member) excuse(l *link) {
	if b := &m.backing; b.latest == l {
		b.failures--
		b.retryAt, b.latest = time.Time{}, nil
	}
}
