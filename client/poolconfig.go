package client

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"
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

	// Wait says that Get waits for an agent that is not there yet ([MayBecomeReady]), until
	// its context ends. Attempts have the back-off below. Otherwise one that fails, fails
	// for all who wait for it.
	Wait bool

	// Verify is called for each new connection, after the agent's greeting and before
	// anybody gets the connection. An error closes the connection, and the [*DialError]
	// of those who wait wraps it; like any failed attempt, it delays the next one. nil:
	// every agent is taken. The guest fills in h: Verify detects another VM at the same
	// address, but not a guest that lies.
	//
	// An agent that speaks version 1 says nothing: h has Protocol 1 and no more,
	// and each of its commands goes over a connection that nobody verifies. To
	// keep such agents out, return an error for them, or set Protocol.
	//
	// Verify is called by several goroutines. Those who wait for the connection
	// wait for it, and so does [Pool.Close].
	Verify func(target string, h Hello) error

	// After a failed attempt the next one to the same target waits for MinBackoff, then
	// twice as long each time, up to MaxBackoff. The actual wait is random, between
	// half of that and all of it. 0: 100 ms and 5 seconds.
	//
	// A connection has failed, too, if it ends before MaxBackoff has passed. If by then
	// MinBackoff had passed, and the agent had answered a request (by anything but
	// shutting_down or limit), half of the failures are forgotten: an agent that is
	// restarted is there again at once. A version 1 connection of a command has failed
	// if it ends before the agent has said anything; such connections have a back-off
	// of their own.
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

	// MaxConns is how many connections may be open, or being opened, at a time. If
	// there are as many, the pool closes the one that has been idle for longest. One
	// that is silent and in use counts. If there is no room for another connection to
	// its target, the pool does not find out whether it is dead. 0: no limit.
	//
	// An agent that speaks protocol version 1 counts as one connection, in
	// PoolStats too, whatever it has: each of its commands has one of its own,
	// which is neither limited nor counted.
	MaxConns int

	// WindowMemory bounds, in bytes, what a guest can make one connection keep because
	// its output was read fast. Each output that is not read keeps up to 1 MiB, whatever
	// WindowMemory is. One that is read fast may keep 2 MiB and then 4 MiB from then on, as
	// long as all streams of the connection, stdin's included, may keep no more than
	// WindowMemory together. Buffers add a sixteenth to that, and 64 KiB for each stream.
	// 0: 64 MiB. Below 0: 1 MiB each.
	WindowMemory int

	// Logger gets a record when a connection begins, fails, falls silent or ends, and when a
	// command is tried again. Records that need attention are warnings: of failed attempts
	// in a row only the first one is. Each record has the target; errors may have a guest's
	// words in them, printable and bounded. A Handler that blocks holds up the target that it
	// is told about, and Close. It may call Stats, Targets and Forget of the Pool, and nothing
	// else. nil: nobody is told.
	Logger *slog.Logger

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
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.MaxBackoff = max(c.MaxBackoff, c.MinBackoff)
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
