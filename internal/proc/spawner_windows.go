package proc

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/sys/windows"
)

// A spawner is Windows's part of a [Spawner].
type spawner struct {
	hanging atomic.Int32 // starts that nobody waits for any more
	alive   *time.Timer  // never fires
}

func (s *spawner) open() {
	// A service or a program that has no console may have been started without Ctrl-C, which its
	// children would inherit.
	_ = setConsoleCtrlHandler(0, false)
	// The runtime takes a program for dead whose goroutines all wait for callbacks, as Wait does,
	// unless it has a timer.
	s.alive = time.AfterFunc(math.MaxInt64, func() {})
}

func (s *spawner) close() error {
	s.alive.Stop()
	return nil
}

// useCgroups does nothing: each process has a job object.
func (*spawner) useCgroups(func(int)) error { return nil }

func (*spawner) cgroupsKept() int { return 0 }

func (*spawner) groups() []string { return nil }

// canLimit: a limit that this Windows does not know is refused when it is set.
func (*spawner) canLimit() error { return nil }

func (*spawner) startWay() (string, error) { return "CreateProcess", nil }

func (s *spawner) startsStuck() int { return int(s.hanging.Load()) }

// maxHanging is how many starts may hang that were given up.
const maxHanging = 64

// mayStart refuses a start if too many hang.
func (s *spawner) mayStart() error {
	if n := s.hanging.Load(); n >= maxHanging {
		return fmt.Errorf("%w: %d starts hang in CreateProcess", ErrResources, n)
	}
	return nil
}

var kernel32 = windows.NewLazySystemDLL("kernel32.dll")
