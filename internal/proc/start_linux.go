package proc

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc/cgroup"
)

func (s *Spawner) start(spec Spec, l launch) (*Process, error) {
	credential, err := s.credential(l.user)
	if err != nil {
		return nil, err
	}
	streams, err := s.openStreams(spec, l.user)
	if err != nil {
		return nil, startError(err)
	}
	return s.startWith(spec, l.path, streams, &syscall.ProcAttr{
		Dir:   l.dir,
		Env:   l.env,
		Files: streams.child[:],
		// The terminal, if any, is the child's descriptor 0.
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: spec.Terminal != nil, Ctty: 0, Credential: credential},
	})
}

func (s *Spawner) startWith(spec Spec, path string, pipes *pipes, attr *syscall.ProcAttr) (p *Process, err error) {
	defer pipes.closeChild()
	p = &Process{
		stdin: pipes.stdin, stdout: pipes.stdout, stderr: pipes.stderr, terminal: pipes.terminal,
		process: process{spawner: s},
	}
	pidfd := -1
	attr.Sys.PidFD = &pidfd
	if err := p.fork(path, spec, attr); err != nil {
		pipes.closeParent()
		p.giveCgroup()
		return nil, err
	}
	p.watch(pidfd)
	ordinary(p.pid)
	p.constrain()
	return p, nil
}

// fork starts the process in a cgroup of its own, if one is to be had. One that
// was used before may be spoilt: a command can have given it children of its own,
// and anybody with the privilege can remove it. It is done away with then.
func (p *Process) fork(path string, spec Spec, attr *syscall.ProcAttr) (err error) {
	for {
		if err = p.takeCgroup(spec.Limits); err != nil {
			return startError(err)
		}
		if p.pid, err = p.forkExec(path, spec.Argv, attr); err == nil {
			return nil
		}
		if p.cgroup == nil || !p.cgroup.Spoilt(err) {
			return execError(path, attr, err)
		}
		g := p.cgroup
		p.cgroup = nil
		fresh, path := g.Fresh(), g.Path()
		p.spawner.cgroups.Give(g)
		if fresh {
			p.noCgroup = fmt.Errorf("%s: %w", path, err)
		}
	}
}

// takeCgroup leaves p without a cgroup if none is to be had: the hierarchy has
// gone, or is read-only by now. That such a VM can be entered is worth more than
// that every daemon is found. A shortage is another matter, and passes; and
// limits cannot be without.
func (p *Process) takeCgroup(limits Limits) (err error) {
	if p.spawner.cgroups == nil {
		return nil
	}
	if p.noCgroup == nil {
		p.cgroup, err = p.spawner.cgroups.Take(cgroup.Limits(limits))
		if refused, ok := errors.AsType[*cgroup.LimitsError](err); ok {
			return limitsError{refused.Reason}
		}
		if err == nil || scarce(err) {
			return err
		}
		p.noCgroup = err
	}
	if limits != (Limits{}) {
		return limitsError{p.noCgroup}
	}
	return nil
}

func (p *Process) forkExec(path string, argv []string, attr *syscall.ProcAttr) (int, error) {
	attr.Sys.UseCgroupFD = p.cgroup != nil
	if p.cgroup != nil {
		attr.Sys.CgroupFD = p.cgroup.FD()
	}
	fork := func() (int, error) { return p.spawner.forkExec(path, argv, attr) }
	pid, err := own.start(fork)
	if errors.Is(err, unix.EAGAIN) && own.sweep(true) { // zombies had all pids there are
		return own.start(fork)
	}
	return pid, err
}
