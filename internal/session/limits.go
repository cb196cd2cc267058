package session

import (
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Ceilings bound every exec, whatever it asks for: the lower one counts. 0: no
// ceiling. One of Memory or PIDs refuses every exec in a guest that cannot set
// such a limit.
type Ceilings struct {
	Memory int64 // bytes
	PIDs   int64 // processes and threads
	Time   time.Duration
}

// Limits returns what an exec gets that asks for no limits.
func (c *Ceilings) Limits() proc.Limits { return c.limits(nil) }

// lower returns the lower of two limits. 0 stands for no limit.
func lower[N int64 | time.Duration](a, b N) N {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// limits returns what an exec gets that asks for l, which has been checked.
func (c *Ceilings) limits(l *wire.Limits) proc.Limits {
	var asked proc.Limits
	if l != nil {
		asked = proc.Limits{Memory: int64(l.Memory), PIDs: int64(l.PIDs), CPU: int64(l.CPUMilli)}
	}
	asked.Memory, asked.PIDs = lower(asked.Memory, c.Memory), lower(asked.PIDs, c.PIDs)
	return asked
}

// timeout returns how long an exec may run that asks for ms milliseconds. 0: for ever.
func (c *Ceilings) timeout(ms uint64) time.Duration {
	const longest = uint64(1<<63-1) / uint64(time.Millisecond)
	return lower(time.Duration(min(ms, longest))*time.Millisecond, c.Time)
}
