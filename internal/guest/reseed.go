package guest

import (
	"errors"
	"fmt"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/netid"
)

// Errors of [Reseed] and its steps, which class the failure for the caller.
var (
	// ErrEntropy says that a Seed has too little or too much entropy.
	ErrEntropy = errors.New("entropy of the wrong length")

	// ErrHostname says that a Seed's hostname is not valid.
	ErrHostname = errors.New("invalid hostname")

	// ErrNotPermitted says that the agent lacks a privilege, or that a file
	// system is read-only.
	ErrNotPermitted = errors.New("not permitted")

	// ErrResources says that the disk is full, or the agent out of descriptors
	// or processes.
	ErrResources = errors.New("out of resources")

	// ErrUnsupported says that the agent cannot reseed this operating system.
	ErrUnsupported = errors.New("not supported")
)

// How many bytes of entropy Reseed takes.
const (
	MinEntropy = 16
	MaxEntropy = 512
)

// A Seed is what makes a clone of a snapshot a machine of its own.
type Seed struct {
	Entropy   []byte // for the kernel's random number generator; of this clone alone
	AnyLength bool   // fewer bytes than MinEntropy will do, or none

	MachineID bool
	Hostname  string // empty: leave it
	SSHKeys   bool

	// Clock is what the wall clock was to say at Received; zero: leave it.
	// Received has a monotonic reading: what has gone by since is added.
	Clock     time.Time
	Received  time.Time
	ClockBack bool // set it though that means back

	Network *netid.Network // nil: leave it. Of Linux alone
}

// A Step is what has become of one step of [Reseed].
type Step struct {
	Name    string
	Changed bool   // the guest is not as it was; also if Err says that not all was done
	Note    string // for people
	Err     error
}

// Reseed takes the steps that s asks for, one after the other: one that fails
// does not keep the others from being taken. Its own error says that s makes no
// sense, and then none has been taken. It may take as long as new keys do, and
// is not to be called again meanwhile.
func Reseed(s Seed) ([]Step, error) {
	if n := len(s.Entropy); n < MinEntropy && !s.AnyLength || n > MaxEntropy {
		return nil, fmt.Errorf("%w: %d bytes: want %d to %d", ErrEntropy, n, MinEntropy, MaxEntropy)
	}
	if s.Hostname != "" {
		if err := checkHostname(s.Hostname); err != nil {
			return nil, err
		}
	}
	return reseed(s)
}
