package client

import (
	"fmt"
	"math"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Limits bound what a command and everything that it starts may use. Zero: no
// limit.
//
// The guest must be able to set them (docs/protocol.md, section 4). Otherwise Start
// returns a [*RemoteError] of kind [Unsupported]: no limit is ever ignored. A command
// that runs as root can escape them.
type Limits struct {
	// Memory is in bytes, file cache included; none of it is swapped. A command that
	// needs more is killed as a whole, and [ProcessState.OOMKilled] is then true.
	Memory uint64

	// PIDs is how many processes and threads there may be at a time. A fork
	// beyond that fails in the command with EAGAIN.
	PIDs uint64

	// CPU is in CPUs, to the thousandth, at least 0.01: 0.5 is half of one, 2 is
	// two. A command that wants more is slowed down.
	CPU float64
}

// request returns the limits as they are sent, nil if there are none.
func (l Limits) request() *wire.Limits {
	if l == (Limits{}) {
		return nil
	}
	milli := uint64(math.Round(l.CPU * 1000))
	if l.CPU > 0 {
		milli = max(milli, 1) // that no limit becomes none: the agent refuses this one
	}
	return &wire.Limits{Memory: l.Memory, PIDs: l.PIDs, CPUMilli: milli}
}

// maxCPU is far from any guest, and as a number of thousandths from overflow.
const maxCPU = 1 << 20

func (l Limits) check() error {
	if !(l.CPU >= 0 && l.CPU <= maxCPU) { // nor NaN
		return fmt.Errorf("client: CPU limit %v: want 0.01 to %d", l.CPU, maxCPU)
	}
	return nil
}
