package proc

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/windows"
)

// A spawner is Windows's part of a [Spawner].
type spawner struct {
	hanging atomic.Int32 // starts that nobody waits for any more
}

func (*spawner) open() {
	// A service or a program that has no console may have been started without Ctrl-C, which its
	// children would inherit.
	_ = setConsoleCtrlHandler(0, false)
	// Once it polls a file, the runtime does not take a program for dead whose goroutines all wait
	// for callbacks, as Wait does.
	if file, theirs, err := openPipe("pipe", true); err == nil {
		_ = file.Close()
		_ = windows.CloseHandle(theirs)
	}
}

func (*spawner) close() error { return nil }

// useCgroups does nothing: each process has a job object.
func (*spawner) useCgroups(func(int)) error { return nil }

func (*spawner) cgroupsKept() int { return 0 }

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
