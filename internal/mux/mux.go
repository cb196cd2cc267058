// Package mux carries many streams over one connection: yamux, specification
// version 0 (https://github.com/hashicorp/yamux/blob/master/spec.md). Any
// implementation can be the peer; the promises are this one's:
//
//   - A stream whose connection has died reads [ErrLost], not io.EOF. Read returns
//     the bytes received before that first, and io.EOF means that the peer has ended
//     the stream.
//   - There are no time-outs. A connection to a paused VM stalls for as long as
//     the VM is paused, and goes on.
//   - No stream is ever reset by this side, but one that the peer may not open,
//     and one whose owner wants that ([Stream.Reset]): then what was written before
//     is read first. Each has an owner: whoever claims it within [ClaimTimeout], or
//     nobody, and then it is closed and what comes is thrown away.
//   - No frame is longer than [MaxFrame], frames are written in turn, and those
//     of the control stream next: a message waits for one frame.
//   - A frame is one write on the connection, together with the frames without a
//     body that have come before it.
//   - Only [Stream.Write] is held up by a peer that does not read.
//   - A peer can make this side keep no more than a window for each stream, and
//     a chunk; the hosts of an agent altogether no more than its [Quota]. The window
//     of a stream that is read fast grows: on the agent's side to half of the Quota
//     for all streams, on the host's side to a limit ([Session.LimitWindows]).
//   - Close sends what has been written before it closes, for at most
//     [CloseTimeout].
//
// The host is yamux's client and the agent its server. Only the host opens streams: it
// tells the agent by GoAway, first of all, and refuses a stream that a hostile agent
// opens anyway.
package mux

import (
	"errors"
	"fmt"
	"time"
)

// Limits.
const (
	// MaxFrame is the longest frame written, in bytes of its body.
	MaxFrame = 64 << 10

	// packedFrame is the body of a frame that others follow, over vsock. With its
	// header it is a whole packet, which has at most 64 KiB (Linux'
	// VIRTIO_VSOCK_MAX_PKT_BUF_SIZE); with one byte more it would be two.
	packedFrame = MaxFrame - headerSize

	// worthwhile is how much of its window a peer must have left for a frame that is
	// not the last: the rest is kept, until the peer has read half of its window.
	worthwhile = MaxFrame / 2

	// early is how much less than half of a window has been read when it is given
	// back: two packed frames are a little less than half of the agent's.
	early = MaxFrame / 2

	// ClaimTimeout is how long a stream that the host has opened waits for the
	// request that names it, at least; a quarter more at most.
	ClaimTimeout = 10 * time.Second

	// CloseTimeout is how long Close waits for a peer that does not read.
	CloseTimeout = time.Second

	// agentWindow is the first receive window of a stream on the agent's side:
	// the least that yamux has.
	agentWindow = initialWindow

	// hostWindow is the first receive window of a stream on the host's side, which
	// has memory to spare and wants output fast.
	hostWindow = 1 << 20
)

// Errors.
var (
	// ErrLost is wrapped by the error of every operation on a stream or a
	// session whose connection has ended, by whatever cause.
	ErrLost = errors.New("connection lost")

	// ErrClosed is wrapped, along with ErrLost, once this side has called Close.
	ErrClosed = errors.New("closed locally")

	// ErrProtocol is wrapped if the peer has broken yamux's rules.
	ErrProtocol = errors.New("protocol violation")

	// ErrReset says that the peer has reset a stream. It wraps ErrLost.
	ErrReset = fmt.Errorf("%w: stream reset by peer", ErrLost)

	// ErrNoStream says that no stream of that id waits to be claimed.
	ErrNoStream = errors.New("no such stream")
)

// never is the time-out of what must not time out. (time.Duration ends at 292 years.)
const never = 100 * 365 * 24 * time.Hour
