package proc

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
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

	// minMemory is less than programs need: whoever asks for 256 bytes has
	// forgotten the unit.
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

// CheckLimits returns why Start refuses a Spec with these limits, or nil: they
// make no sense ([ErrInvalid]), or this guest cannot set any ([ErrUnsupported]).
func (s *Spawner) CheckLimits(l Limits) error {
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

func (e limitsError) Error() string { return "cannot set limits: " + e.error.Error() }

func (e limitsError) Is(target error) bool { return target == ErrUnsupported }

func (e limitsError) Unwrap() error { return e.error }

// A setting is a file of a cgroup and what is written to it.
type setting struct {
	controller, file, value string

	late     bool // set when the process has become the command
	optional bool // not every kernel has the file
}

func (l Limits) settings() []setting {
	var all []setting
	if l.Memory > 0 {
		all = append(all,
			setting{controller: "memory", file: "memory.max", value: strconv.FormatInt(l.Memory, 10), late: true},
			// What does not fit is not to go to a disk instead.
			setting{controller: "memory", file: "memory.swap.max", value: "0", optional: true},
			// A command that has lost one of its processes is seldom of use, and
			// its exit would not say so: it goes as a whole.
			setting{controller: "memory", file: "memory.oom.group", value: "1"})
	}
	if l.PIDs > 0 {
		all = append(all, setting{controller: "pids", file: "pids.max", value: strconv.FormatInt(l.PIDs, 10)})
	}
	if l.CPU > 0 {
		value := fmt.Sprintf("%d %d", l.CPU*(cpuPeriod/1000), cpuPeriod)
		all = append(all, setting{controller: "cpu", file: "cpu.max", value: value, late: true})
	}
	return all
}

// set is done before there is a process. A late setting is tried, so that it is
// refused in time, and undone.
func (g *cgroup) set(settings []setting) error {
	for _, s := range settings {
		if err := s.apply(g.path); err != nil {
			return err
		}
		if !s.late {
			continue
		}
		g.late = append(g.late, s)
		s.value = "max"
		if err := s.apply(g.path); err != nil {
			return err
		}
	}
	return nil
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

// constrain sets the limits that a child must not have before it is the command:
// until then it runs on the agent's memory, and all other forks wait for it
// (syscall.ForkLock), so that a child that is throttled or short of memory would
// hold up other execs. They were set once before, and can be: where that fails
// now, nothing may run without them.
func (p *Process) constrain() {
	if p.cgroup == nil || len(p.cgroup.late) == 0 {
		return
	}
	p.cgroup.ordinary()
	for _, s := range p.cgroup.late {
		if err := s.apply(p.cgroup.path); err != nil {
			p.cgroup.kill()
		}
	}
}

// ordinary is for a tree whose main process has just been made [ordinary], and
// may have forked before that. The OOM killer spares a process that inherits the
// agent's protection, and without its memory that waits for ever.
func (g *cgroup) ordinary() {
	if !protected() {
		return
	}
	done := map[int]bool{}
	for grown := true; grown; {
		grown = false
		for _, pid := range g.members() {
			if !done[pid] {
				g.ordinaryMember(pid)
				done[pid], grown = true, true
			}
		}
	}
}

// ordinaryMember makes pid [ordinary] if it is the cgroup's. The file that is open
// is of one process, whoever has its pid later: if that is a member after it was
// opened, it is the file's.
func (g *cgroup) ordinaryMember(pid int) {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if slices.Contains(g.members(), pid) {
		_, _ = f.WriteString("0")
	}
}
