//go:build linux

package proc

import (
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/proc/clone"
)

// SetPidfd puts f in the place of p's pidfd. A kernel without has nil there.
func SetPidfd(p *Process, f *os.File) {
	_ = p.pidfd.Close()
	p.pidfd = f
}

// Foreground is the process group in the foreground of p's terminal.
func (p *Process) Foreground() int { return p.terminal.foreground() }

// TerminalSize is that of p's terminal.
func (p *Process) TerminalSize() (Size, error) { return p.terminal.size() }

// SignalJob is Signal, with group in the foreground as the kernel tells it.
func (p *Process) SignalJob(group int, sig Signal) error {
	number, err := signalNumber(string(sig))
	if err != nil {
		return err
	}
	return p.signalJob(group, number)
}

// NumberOf returns the number of a signal, or -1.
func NumberOf(sig Signal) int {
	number, err := signalNumber(string(sig))
	if err != nil {
		return -1
	}
	return int(number)
}

// SignalNumber is Signal for what need not be a signal.
func (p *Process) SignalNumber(sig int) error { return p.send(syscall.Signal(sig)) }

// SendFound sends sig to a process as if it had been found some clock ticks older
// than it is, and, if moved, in another session and with another parent.
func SendFound(pid int, sig syscall.Signal, ticks uint64, moved bool) error {
	s, err := readStat(pid)
	if err != nil {
		return err
	}
	s.started -= ticks
	if moved {
		s.session, s.parent = s.session+1, s.parent+1
	}
	return s.target().send(sig)
}

// IsMember reports whether child is in the family of main if its parent was found
// in main's session, some clock ticks older than it is.
func IsMember(main, child, parent int, ticks uint64) bool {
	young, err := readStat(child)
	old, err2 := readStat(parent)
	if err != nil || err2 != nil {
		return false
	}
	old.session, old.started = main, old.started-ticks
	f := family{pid: main}
	return slices.ContainsFunc(f.among([]stat{old, young}), func(s stat) bool { return s.pid == child })
}

// MakeOrdinary gives pid up to the OOM killer if it is in p's cgroup and has the
// oom_score_adj that it would inherit of an agent with the score inherited.
func (p *Process) MakeOrdinary(pid, inherited int) {
	t := youngTree{group: p.cgroup}
	t.makeOrdinary(pid, scores{agent: inherited})
}

// MakeOrdinaryLater is MakeOrdinary for a process that has started after all that can have
// inherited anything.
func (p *Process) MakeOrdinaryLater(pid, inherited int) {
	t := youngTree{group: p.cgroup, born: 1}
	t.makeOrdinary(pid, scores{agent: inherited})
}

// ForceScores has commands get an oom_score_adj other than the agent's. To raise it takes
// no privilege.
func ForceScores(agent, command int) { forcedScores = &scores{agent, command} }

// Members are the processes of p's cgroup.
func (p *Process) Members() []int { return p.cgroup.Members() }

// ForceStart has processes started as PROC_TEST_START says: "clone3", "copied" or "fork".
// Empty: in the best way that works.
func ForceStart(way string) {
	forcedWay = map[string]clone.Way{"": 0, "clone3": clone.Table, "copied": clone.Copied, "fork": clone.Fork}[way]
}

// ChildPIDs are the pids of this program's children.
func ChildPIDs() []int { return childrenOfThreads() }

// SetNSSTime sets how long getent(1) may take. Nobody may be asking it.
func SetNSSTime(d time.Duration) { nssTime = d }
