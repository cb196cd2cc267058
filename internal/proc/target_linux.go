package proc

import (
	"errors"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc/cgroup"
)

// A target is a process that has been found and may get a signal. Between the
// two it can die, and its pid can be given to another process.
type target struct {
	pid int

	// still reports whether pid is a process that may get the signal: the one
	// that was found.
	still func() bool
}

// send sends sig to the process that was found. The error is ESRCH if that has
// gone, whoever has its pid now.
//
// It opens the pid before it looks whose it is. A process that is alive when the
// signal is sent has had its pid all the time since, so it is the one that was
// looked at. Without pidfd_open (before Linux 5.3, or forbidden by seccomp) this
// is best effort: the pid can change hands between the look and kill(2).
func (x target) send(sig syscall.Signal) error {
	pidfd, err := unix.PidfdOpen(x.pid, 0)
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM):
		if !x.still() {
			return unix.ESRCH
		}
		return unix.Kill(x.pid, sig)
	case scarce(err):
		return err
	case err != nil: // gone; or the number is a thread's by now, pidfd_open(2)
		return unix.ESRCH
	}
	defer unix.Close(pidfd)
	if !x.still() {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(pidfd, sig, nil, 0)
}

// group returns the process group that pid is in, or 0.
func (x target) group() int {
	group, err := unix.Getpgid(x.pid)
	if err != nil {
		return 0
	}
	return group
}

// within narrows x: it may get the signal only while it is in group.
func (x target) within(group int) target {
	return target{pid: x.pid, still: func() bool { return x.still() && x.group() == group }}
}

// target returns the process that s was read of.
func (s stat) target() target {
	return target{pid: s.pid, still: func() bool {
		now, err := readStat(s.pid)
		return err == nil && now.follows(s)
	}}
}

// follows reports whether s is of the same process as an earlier stat. The start
// time is good to a clock tick (10 ms as a rule). So that a pid which goes round
// within one tick is noticed too, the process must have kept its session or its
// parent: it may change one between two looks, but hardly both.
func (s stat) follows(earlier stat) bool {
	return !s.zombie && s.pid == earlier.pid && s.started == earlier.started &&
		(s.session == earlier.session || s.parent == earlier.parent)
}

// memberTargets returns the processes in a cgroup, but not those below it, other
// than those that are known.
func memberTargets(g *cgroup.Group, known map[int]bool) []target {
	var all []target
	var read []stat
	for _, pid := range g.Members() {
		if known[pid] {
			continue
		}
		if s, err := readStat(pid); err == nil {
			read = append(read, s)
		} else { // there is no /proc: it is the cgroup that is looked at
			all = append(all, target{pid: pid, still: func() bool { return slices.Contains(g.Members(), pid) }})
		}
	}
	if len(read) == 0 {
		return all
	}
	// A stat that was read may belong to a process that has taken the pid of a member.
	// If the pid is a member's after that, the stat is the member's, or nobody's.
	members := g.Members()
	for _, s := range read {
		if !s.zombie && slices.Contains(members, s.pid) {
			all = append(all, s.target())
		}
	}
	return all
}

// sendAll sends sig to each target. The error says why none has got it; it is
// ESRCH if none is there any more.
func sendAll(targets []target, sig syscall.Signal) error {
	failed := error(unix.ESRCH)
	sent := false
	for _, x := range targets {
		switch err := x.send(sig); {
		case err == nil:
			sent = true
		case !errors.Is(err, unix.ESRCH):
			failed = err
		}
	}
	if sent {
		return nil
	}
	return failed
}
