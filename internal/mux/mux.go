// Package mux carries many streams over one connection: yamux (spec version 0),
// tamed. It is the only importer of yamux, and keeps the promises that yamux
// does not make:
//
//   - A stream whose connection has died reads [ErrLost], not io.EOF. (A stream
//     that the peer has ended just before the connection died may also read
//     [ErrLost]: only the byte counts of the control stream tell these apart.)
//   - No timer of yamux's ever fires. A connection to a paused VM stalls for as
//     long as the VM is paused, and goes on.
//   - Streams are taken off the accept queue at once, so that none is reset for
//     a full one, and each has an owner: whoever claims it within
//     [ClaimTimeout], or nobody, and then it is closed and drained.
//   - No frame is longer than [MaxFrame], so that no message waits behind more
//     than one such frame for each stream that is being written.
//   - A frame is one write on the connection, and frames that are queued
//     together are one write together.
//   - Close sends what has been written before it closes, for at most
//     [CloseTimeout].
//
// The host is yamux's client and the agent its server. Only the host opens
// streams: it sends GoAway first of all, which makes the agent's side refuse to
// open one and the host's side refuse what a hostile agent opens anyway.
package mux

import (
	"errors"
	"io"
	"time"

	"github.com/hashicorp/yamux"
)

// Limits.
const (
	// MaxFrame is the longest frame written, in bytes of its body.
	MaxFrame = 64 << 10

	// ClaimTimeout is how long a stream that the host has opened waits for the
	// request that names it.
	ClaimTimeout = 10 * time.Second

	// CloseTimeout is how long Close waits for a peer that does not read.
	CloseTimeout = time.Second

	// acceptBacklog is how many streams may wait for the accept loop. yamux
	// resets what is beyond it, and, assuming that the peer's is as large as
	// its own, makes Open wait for the peer once as many are unanswered. So it
	// is the same on both sides, and part of the protocol.
	acceptBacklog = 4096

	// agentWindow is the receive window of a stream on the agent's side:
	// the least that yamux allows.
	agentWindow = 256 << 10

	// hostWindow is the receive window of a stream on the host's side, which
	// has memory to spare and wants output fast.
	hostWindow = 1 << 20
)

// Errors.
var (
	// ErrLost is wrapped by the error of every operation on a stream or a
	// session whose connection has ended, by whatever cause.
	ErrLost = errors.New("connection lost")

	// ErrClosed is wrapped, along with ErrLost, once this side has called Close.
	ErrClosed = errors.New("closed on this side")

	// ErrNoStream says that no stream of that id waits to be claimed.
	ErrNoStream = errors.New("no such stream")
)

// never is the time-out of what must not time out. (time.Duration ends at 292 years.)
const never = 100 * 365 * 24 * time.Hour

func config(window uint32) *yamux.Config {
	c := yamux.DefaultConfig()
	c.AcceptBacklog = acceptBacklog
	c.EnableKeepAlive = false
	c.ConnectionWriteTimeout = never
	c.MaxStreamWindowSize = window
	c.StreamOpenTimeout = 0
	c.StreamCloseTimeout = 0
	c.LogOutput = io.Discard
	return c
}
