//go:build linux

package session

import (
	"fmt"
	"math"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// limitsOf returns the limits that a request asks for.
func limitsOf(l *wire.Limits) (proc.Limits, error) {
	if l == nil {
		return proc.Limits{}, nil
	}
	for _, n := range []uint64{l.Memory, l.PIDs, l.CPUMilli} {
		if n > math.MaxInt64 {
			return proc.Limits{}, fmt.Errorf("%w: a limit of %d: the largest number is %d", errBadRequest, n, math.MaxInt64)
		}
	}
	return proc.Limits{Memory: int64(l.Memory), PIDs: int64(l.PIDs), CPU: int64(l.CPUMilli)}, nil
}
