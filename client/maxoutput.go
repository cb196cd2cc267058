package client

import (
	"fmt"
	"sync/atomic"
)

// DefaultMaxOutput is the [Cmd.MaxOutput] of Output and CombinedOutput if none is
// set, in bytes.
const DefaultMaxOutput = 64 << 20

// An OutputLimitError says that a command has been ended because it wrote more
// than [Cmd.MaxOutput]. The Writers have had Limit bytes.
type OutputLimitError struct {
	Limit int64 // bytes
}

func (e *OutputLimitError) Error() string {
	return fmt.Sprintf("command terminated: more than %d bytes of output (Cmd.MaxOutput)", e.Limit)
}

// An allowance is what is left of a command's MaxOutput. Its outputs share it.
type allowance struct {
	limit int64 // below 1: there is none
	used  atomic.Int64
}

// take returns how many of n bytes are allowed, and an OutputLimitError if not all
// of them are.
func (a *allowance) take(n int) (int, error) {
	if a.limit <= 0 {
		return n, nil
	}
	over := a.used.Add(int64(n)) - a.limit
	if over <= 0 {
		return n, nil
	}
	return max(n-int(min(over, int64(n))), 0), &OutputLimitError{a.limit}
}
