package proc

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// A tree finds everything that a process has started. A cgroup alone would miss
// what has been moved to another, as login sessions are. Zombies do not count.
type tree struct {
	main   *Process
	family family
}

func (p *Process) tree() *tree { return &tree{main: p, family: family{pid: p.pid}} }

// targets returns the living processes. If neither /proc nor the cgroup can be
// read it finds none.
func (t *tree) targets() []target {
	members, _ := t.family.members()
	known := make(map[int]bool, len(members))
	targets := make([]target, 0, len(members))
	for _, s := range members {
		known[s.pid] = true
		targets = append(targets, s.target())
	}
	if t.main.cgroup != nil {
		targets = append(targets, memberTargets(t.main.cgroup, known)...)
	}
	return targets
}

// job returns the processes of the tree that are in a process group of another
// number than the main process's. That number may be a stranger's by now.
func (t *tree) job(group int) []target {
	targets := t.targets()
	if len(targets) == 0 { // no /proc: the leader of the group can be looked at
		leader := target{pid: group, still: func() bool {
			session, err := unix.Getsid(group)
			return err == nil && session == t.main.pid
		}}
		if leader.still() {
			return []target{leader.within(group)}
		}
	}
	var job []target
	for _, x := range targets {
		if x.group() == group {
			job = append(job, x.within(group))
		}
	}
	return job
}

// signal sends sig to each process once: to many programs a second SIGTERM is
// an order to drop everything. The error is why none has got it.
func (t *tree) signal(sig syscall.Signal) error {
	var others []target // that are not in the main process's group
	for _, x := range t.targets() {
		if x.pid != t.main.pid && x.group() != t.main.pid {
			others = append(others, x)
		}
	}
	err := t.main.signalGroup(sig)
	if sendAll(others, sig) == nil {
		return nil
	}
	return err
}

// kill sends SIGKILL to the tree. Without a cgroup the family is looked for
// first: a session that has lost its parent is not found any more.
func (t *tree) kill() {
	if t.main.cgroup != nil {
		t.main.cgroup.Kill()
		_ = t.main.signalGroup(unix.SIGKILL)
	}
	_ = t.signal(unix.SIGKILL)
}

func (t *tree) empty() bool {
	exited, err := t.main.poll(unix.WNOHANG)
	return (exited || err != nil) && (t.main.cgroup == nil || t.main.cgroup.Empty()) && t.family.empty()
}
