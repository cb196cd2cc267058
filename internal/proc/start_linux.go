package proc

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/cocoonstack/cocoon-agent/internal/proc/cgroup"
	"github.com/cocoonstack/cocoon-agent/internal/proc/clone"
)

func (s *Spawner) start(ctx context.Context, spec Spec, l launch) (*Process, error) {
	if spec.Verbatim {
		return nil, fmt.Errorf("%w: arguments that stand verbatim in a command line: only Windows has command lines", ErrUnsupported)
	}
	credential, err := s.credential(l.user)
	if err != nil {
		return nil, err
	}
	streams, err := s.openStreams(spec, l.user)
	if err != nil {
		return nil, startError(err)
	}
	return s.startWith(ctx, spec, streams, &clone.Request{
		Paths: l.paths,
		Argv:  spec.Argv,
		Env:   l.env,
		Dir:   spec.Dir,
		Home:  l.user.home,
		Files: streams.child,
		// The terminal, if any, is the child's descriptor 0.
		Terminal: spec.Terminal != nil,
		User:     userOf(credential),
	})
}

func userOf(c *syscall.Credential) *clone.User {
	if c == nil {
		return nil
	}
	return &clone.User{UID: c.Uid, GID: c.Gid, Groups: c.Groups}
}

func (s *Spawner) startWith(ctx context.Context, spec Spec, pipes *pipes, r *clone.Request) (p *Process, err error) {
	defer pipes.closeChild()
	p = &Process{
		stdin: pipes.stdin, stdout: pipes.stdout, stderr: pipes.stderr, terminal: pipes.terminal,
		process: process{spawner: s, force: make(chan struct{}), ended: make(chan struct{})},
	}
	child, err := p.fork(ctx, spec, r)
	if err != nil {
		pipes.closeParent()
		p.giveCgroup()
		return nil, err
	}
	p.pid, p.pidfd = child.PID, child.PidFD
	if child.HomeErr != nil && !absent(child.HomeErr) {
		p.homeErr = child.HomeErr
	}
	ordinary(p.pid)
	p.constrain()
	return p, nil
}

// fork starts the process in a cgroup of its own, if there is one. One that was made
// before may be spoilt: anybody with the privilege can change or remove it. Another one
// takes its place then. A child that is killed before it is the command is tried once more, in another cgroup: this one
// may kill all that is started in it.
func (p *Process) fork(ctx context.Context, spec Spec, r *clone.Request) (*clone.Child, error) {
	for {
		if err := p.takeCgroup(spec.Limits); err != nil {
			return nil, startError(err)
		}
		child, err := p.clone(ctx, r)
		switch {
		case err == nil:
			return child, nil
		case errors.Is(err, clone.ErrKilled) && p.retried == nil:
			p.retried = err
			p.dropCgroup()
		case errors.Is(err, clone.ErrStillborn) && p.cgroup != nil && p.spawner.engine.MoveIn():
			p.dropCgroup() // the agent's own cgroup may be what kills
		case p.cgroup != nil && p.cgroup.Spoilt(err):
			fresh, path := p.cgroup.Fresh(), p.cgroup.Path()
			p.dropCgroup()
			if fresh {
				p.noCgroup = fmt.Errorf("%s: %w", path, err)
			}
		default:
			return nil, execError(spec, r, err)
		}
	}
}

// clone starts the process, in p's cgroup if it has one.
func (p *Process) clone(ctx context.Context, r *clone.Request) (*clone.Child, error) {
	r.Cgroup = nil
	if p.cgroup != nil {
		fd := p.cgroup.FD()
		r.Cgroup = &fd
	}
	child, err := p.spawner.engine.Start(ctx, r)
	if err == nil && child.CgroupErr != nil {
		p.noCgroup = fmt.Errorf("%s: %w", p.cgroup.Path(), child.CgroupErr)
		p.dropCgroup()
	}
	return child, err
}

// dropCgroup gives the cgroup back.
func (p *Process) dropCgroup() {
	if p.cgroup != nil {
		p.spawner.cgroups.Give(p.cgroup)
		p.cgroup = nil
	}
}

// takeCgroup leaves p without a cgroup if cgroups are unavailable: the hierarchy has
// gone, or is read-only by now. A way into such a VM is worth more than finding every
// daemon. A shortage is another matter, and passes; and limits need a cgroup.
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
