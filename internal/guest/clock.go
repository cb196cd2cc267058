//go:build linux || windows

package guest

import (
	"fmt"
	"time"
)

// setClock sets the wall clock, back only if that is asked for: programs
// take time that goes back badly.
func (s *Seed) setClock() (changed bool, note string, err error) {
	now := s.Clock.Add(time.Since(s.Received)) // without a monotonic reading, as s.Clock is
	ahead := time.Until(now)
	if ahead <= 0 && !s.ClockBack {
		return false, fmt.Sprintf("%v ahead, not set back", -ahead), nil
	}
	if err := writeClock(now); err != nil {
		return false, "", err
	}
	if ahead < 0 {
		return true, fmt.Sprintf("%v back", -ahead), nil
	}
	return true, fmt.Sprintf("%v forward", ahead), nil
}
