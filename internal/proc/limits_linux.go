package proc

import "fmt"

// canLimit returns why no limits can be set in this guest, or nil.
func (s *Spawner) canLimit() error {
	if s.cgroups == nil {
		return fmt.Errorf("the agent has no cgroups: %w", s.noCgroups)
	}
	return s.cgroups.CheckLimits()
}

// outOfMemory is asked once the main process has exited, and before it is
// reaped. What the OOM killer has spared, or not yet ended, is ended.
func (p *Process) outOfMemory() bool {
	if p.cgroup == nil || !p.cgroup.OutOfMemory() {
		return false
	}
	p.terminate(0)
	return true
}

// constrain sets the limits that a child must not have before it is the command:
// until then it runs on the agent's memory, and all other forks wait for it
// (syscall.ForkLock), so that a child that is throttled or short of memory would
// hold up other execs. They were set once before, and can be: if that fails
// now, nothing may run without them.
func (p *Process) constrain() {
	if p.cgroup == nil || !p.cgroup.Late() {
		return
	}
	ordinaryMembers(p.cgroup)
	if err := p.cgroup.SetLate(); err != nil {
		p.cgroup.Kill()
	}
}
