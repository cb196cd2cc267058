package mux

import (
	"cmp"
	"errors"
	"time"
)

// Limits bound what hosts can make an agent hold, each on one session and, with
// All, on the sessions of one [Quota] together. 0 stands for the default.
type Limits struct {
	Streams, AllStreams int // open, or with input that is still to be read
	Input, AllInput     int // bytes of memory that hold such input
}

// Defaults of [Limits].
const (
	// DefaultStreams is three streams each for the 2,048 processes that one
	// connection may have by default, and some.
	DefaultStreams = 8192

	// DefaultAllStreams is two such connections.
	DefaultAllStreams = 2 * DefaultStreams

	// DefaultInput is what some 50 processes hold that read nothing of a long
	// input ([windowCost]).
	DefaultInput = 24 << 20

	// DefaultAllInput is a quarter of a small guest's memory, of 128 MiB.
	DefaultAllInput = 32 << 20

	// MinInput leaves room for a few streams that nobody reads.
	MinInput = 4 << 20
)

const (
	// refusable is how many streams beyond its limit a host may have open, which
	// hold nothing and wait for the host to close them: as many as a burst of
	// some 80 execs has. Beyond that the connection ends. Each is a goroutine.
	refusable = 256

	// maxPings is how many of yamux's pings may be unanswered. Each is a
	// goroutine of yamux's for as long as the host does not read.
	maxPings = 128

	// stuckTime is for how long a stream that nobody reads is left alone while
	// the memory for input is used up.
	stuckTime = 500 * time.Millisecond
)

// What input costs. yamux keeps it in a bytes.Buffer, whose array is at most
// twice as long as the most that it has held, and never shrinks by itself.
const (
	bufferSlack = 1 << 10
	windowCost  = 2*agentWindow + bufferSlack
)

// inputCost is how much memory at most a stream has that has held as much as
// high bytes.
func inputCost(high int) int {
	if high == 0 {
		return 0
	}
	return 2*high + bufferSlack
}

// Errors of limits.
var (
	// ErrTooManyStreams says that a stream is one more than its host may have.
	ErrTooManyStreams = errors.New("too many streams are open")

	// ErrInput says that the memory for what hosts have sent and nobody has read
	// is used up.
	ErrInput = errors.New("the memory for unread input is used up")

	errPings = errors.New("too many pings are unanswered")
)

func (l Limits) withDefaults() Limits {
	return Limits{
		Streams:    cmp.Or(l.Streams, DefaultStreams),
		AllStreams: cmp.Or(l.AllStreams, DefaultAllStreams),
		Input:      cmp.Or(l.Input, DefaultInput),
		AllInput:   cmp.Or(l.AllInput, DefaultAllInput),
	}
}
