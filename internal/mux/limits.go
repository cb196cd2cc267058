package mux

import (
	"cmp"
	"errors"
	"time"
)

// A QuotaConfig bounds what hosts can make an agent hold, each on one session and, with
// All, on the sessions of one [Quota] together. 0 stands for the default.
type QuotaConfig struct {
	Streams, AllStreams int // open, or with input that is still to be read
	Input, AllInput     int // bytes of memory that hold such input
}

// Defaults of [QuotaConfig].
const (
	// DefaultStreams is three streams each for the 2,048 processes that one
	// connection may have by default, and some.
	DefaultStreams = 8192

	// DefaultAllStreams is two such connections.
	DefaultAllStreams = 2 * DefaultStreams

	// DefaultInput is what some 75 processes hold that read nothing of a long
	// input: a first window each, and what is being written to them. At most half of
	// it is for windows that have grown.
	DefaultInput = 24 << 20

	// DefaultAllInput is a quarter of a small guest's memory, of 128 MiB.
	DefaultAllInput = 32 << 20

	// MinInput leaves room for a few streams that nobody reads.
	MinInput = 4 << 20
)

const (
	// refusable is how many streams beyond its limit a host may have open, which
	// hold nothing and wait for the host to close them: as many as a burst of
	// some 80 execs has. Beyond that the connection ends.
	refusable = 256

	// stuckTime is for how long a stream that nobody reads is left alone while
	// the memory for input is used up.
	stuckTime = 500 * time.Millisecond
)

// Errors of limits.
var (
	// ErrTooManyStreams says that a stream is one more than its host may have.
	ErrTooManyStreams = errors.New("too many open streams")

	// ErrInput says that the memory for what hosts have sent and nobody has read
	// is used up.
	ErrInput = errors.New("memory for unread input exhausted")
)

func (l QuotaConfig) withDefaults() QuotaConfig {
	return QuotaConfig{
		Streams:    cmp.Or(l.Streams, DefaultStreams),
		AllStreams: cmp.Or(l.AllStreams, DefaultAllStreams),
		Input:      cmp.Or(l.Input, DefaultInput),
		AllInput:   cmp.Or(l.AllInput, DefaultAllInput),
	}
}
