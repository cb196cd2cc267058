package proc

import (
	"fmt"
	"math"
)

// Limits bound what the whole tree of a process may use. Zero: no limit.
// They hold back programs, not root: a process that may write to the cgroup
// hierarchy can move itself out of them.
type Limits struct {
	Memory int64 // bytes, file cache included; none of it is swapped
	PIDs   int64 // processes and threads at a time; on Windows processes
	CPU    int64 // thousandths of one CPU
}

// What Linux takes. A limit that it would refuse is the request's fault.
const (
	// minMemory is less than programs need: whoever asks for 256 bytes has
	// forgotten the unit.
	minMemory = 1 << 20

	// A quota is 1 ms to 2^44-1 microseconds in each 100 ms: min_cfs_quota_period
	// and max_cfs_runtime, kernel/sched/core.c.
	minCPU = 10
	maxCPU = (1<<44 - 1) / 100

	// maxPIDs is PID_MAX_LIMIT of 64-bit kernels, include/linux/threads.h.
	maxPIDs = 4 << 20
)

// Check returns an error that wraps [ErrInvalid] if no guest could set these limits.
func (l Limits) Check() error {
	for _, x := range []struct {
		what           string
		n, least, most int64
	}{
		{"memory limit, in bytes", l.Memory, minMemory, math.MaxInt64},
		{"pids limit", l.PIDs, 1, maxPIDs},
		{"cpu limit, in thousandths of one CPU", l.CPU, minCPU, maxCPU},
	} {
		if x.n != 0 && (x.n < x.least || x.n > x.most) {
			return invalidError{fmt.Errorf("%s: %d: want %d to %d", x.what, x.n, x.least, x.most)}
		}
	}
	return nil
}

// CheckLimits returns why Start refuses a Spec with these limits, or nil: they
// make no sense ([ErrInvalid]), or this guest cannot set any ([ErrUnsupported]).
func (s *Spawner) CheckLimits(l Limits) error {
	if err := l.Check(); err != nil || l == (Limits{}) {
		return err
	}
	if err := s.canLimit(); err != nil {
		return limitsError{err}
	}
	return nil
}

// A limitsError says why no limit can be set. It is a case of [ErrUnsupported].
type limitsError struct{ error }

func (e limitsError) Error() string { return "cannot set limits: " + e.error.Error() }

func (e limitsError) Is(target error) bool { return target == ErrUnsupported }

func (e limitsError) Unwrap() error { return e.error }
