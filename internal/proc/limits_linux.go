package proc

import "fmt"

// canLimit returns why no limits can be set in this guest, or nil.
func (s *Spawner) canLimit() error {
	if s.cgroups == nil {
		return fmt.Errorf("the agent has no cgroups: %w", s.noCgroups)
	}
	return s.cgroups.CheckLimits()
}

// outOfMemory is asked once the main process has exited, and before it is reaped. It
// ends the processes that the OOM killer has spared, or not yet ended.
func (p *Process) outOfMemory() bool {
	if p.cgroup == nil || !p.cgroup.OutOfMemory() {
		return false
	}
	p.terminate(0)
	return true
}

// constrain makes the children of a protected agent ordinary, and sets the limits that
// a child must not have before it is the command. Until then the child shares the
// agent's memory, and the kernel would kill the agent for a limit of the child's
// cgroup. The limits were set once before, and can be: if that fails now, nothing may
// run without them.
func (p *Process) constrain() {
	if p.cgroup == nil {
		return
	}
	ordinaryTree(p.cgroup, p.pid)
	if !p.cgroup.Late() {
		return
	}
	if err := p.cgroup.SetLate(); err != nil {
		p.cgroup.Kill()
	}
}
