package proc

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Limits bound what the whole tree of a process may use. Zero: no limit.
// They hold back programs, not root: a process that may write to the cgroup
// hierarchy can move itself out of them.
type Limits struct {
	Memory int64 // bytes, file cache included; none of it is swapped
	PIDs   int64 // processes and threads at a time
	CPU    int64 // thousandths of one CPU
}

// What the kernel takes. A limit that it would refuse is the request's fault.
const (
	// cpuPeriod is the time over which a CPU quota is counted, in microseconds:
	// the kernel's own default.
	cpuPeriod = 100_000

	// minMemory is less than any program needs. With a few pages alone, the child
	// could not even tell why it has not become the command.
	minMemory = 1 << 20

	// A quota is 1 ms to 2^44-1 microseconds: min_cfs_quota_period and
	// max_cfs_runtime, kernel/sched/core.c.
	minCPU = 10
	maxCPU = (1<<44 - 1) / (cpuPeriod / 1000)

	// maxPIDs is PID_MAX_LIMIT of 64-bit kernels, include/linux/threads.h.
	maxPIDs = 4 << 20
)

func (l Limits) check() error {
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

// checkLimits refuses what makes no sense, or cannot be had in this guest.
func (s *Spawner) checkLimits(l Limits) error {
	err := l.check()
	switch {
	case err != nil || l == Limits{}:
		return err
	case s.cgroups == nil:
		return limitsError{fmt.Errorf("the agent has no cgroups: %w", s.noCgroups)}
	case s.cgroups.limited.why != nil:
		return limitsError{s.cgroups.limited.why}
	default:
		return nil
	}
}

// A limitsError says why no limit can be set. It is a case of [ErrUnsupported].
type limitsError struct{ error }

func (e limitsError) Error() string { return "limits cannot be set: " + e.error.Error() }

func (e limitsError) Is(target error) bool { return target == ErrUnsupported }

func (e limitsError) Unwrap() error { return e.error }

// A setting is a file of a cgroup and what is written to it.
type setting struct {
	controller, file, value string
	optional                bool // not every kernel has the file
}

func (l Limits) settings() []setting {
	var all []setting
	if l.Memory > 0 {
		all = append(all,
			setting{"memory", "memory.max", strconv.FormatInt(l.Memory, 10), false},
			// What does not fit is not to go to a disk instead.
			setting{"memory", "memory.swap.max", "0", true},
			// A command that has lost one of its processes is seldom of use, and
			// its exit would not say so: it goes as a whole.
			setting{"memory", "memory.oom.group", "1", false})
	}
	if l.PIDs > 0 {
		all = append(all, setting{"pids", "pids.max", strconv.FormatInt(l.PIDs, 10), false})
	}
	if l.CPU > 0 {
		quota := l.CPU * (cpuPeriod / 1000)
		all = append(all, setting{"cpu", "cpu.max", fmt.Sprintf("%d %d", quota, cpuPeriod), false})
	}
	return all
}

func (s setting) apply(dir string) error {
	err := writeControl(filepath.Join(dir, s.file), s.value)
	if s.optional && errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// writeControl writes to a file that is there. os.WriteFile would try to make
// it, and its error would be another.
func writeControl(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

// outOfMemory says whether processes have been killed because the cgroup was at
// its own memory limit, rather than for want of memory in the guest, or in a
// cgroup below, which is another's limit.
func (g *cgroup) outOfMemory() bool {
	return g.limited && g.count("memory.events.local", "oom") > 0 && g.count("memory.events", "oom_kill") > 0
}

// count returns a number from a file with a name and a number in each line.
func (g *cgroup) count(file, name string) int {
	text, _ := os.ReadFile(filepath.Join(g.path, file))
	for line := range bytes.Lines(text) {
		if fields := bytes.Fields(line); len(fields) == 2 && string(fields[0]) == name {
			n, _ := strconv.Atoi(string(fields[1]))
			return n
		}
	}
	return 0
}

// outOfMemory is asked once the main process has exited, and before it is
// reaped. What the OOM killer has spared, or not yet ended, is ended.
func (p *Process) outOfMemory() bool {
	if p.cgroup == nil || !p.cgroup.outOfMemory() {
		return false
	}
	p.Terminate(0)
	return true
}

// ordinary is for a tree whose main process has just been made [ordinary], and
// may have forked before that. The kernel does not end a process that inherits
// the agent's protection, and lets it wait for memory for ever.
func (g *cgroup) ordinary() {
	if !protected() {
		return
	}
	done := map[int]bool{}
	for grown := true; grown; {
		grown = false
		for _, pid := range g.members() {
			if !done[pid] {
				ordinary(pid)
				done[pid], grown = true, true
			}
		}
	}
}

// ofMemoryLimit explains the failure of an exec that had not the memory to begin.
func ofMemoryLimit(l Limits, err error) error {
	if l.Memory > 0 && (errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.E2BIG)) {
		return fmt.Errorf("within a memory limit of %d bytes: %w", l.Memory, err)
	}
	return err
}
