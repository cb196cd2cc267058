package proc

import (
	"context"
	"os"
	"slices"
)

// A Spawner starts processes. It is safe for concurrent use.
type Spawner struct {
	base []string // environment
	own  []string // environment of a process whose Spec asks for nothing else
	self account

	spawner // what the operating system needs
}

// NewSpawner returns a Spawner that works everywhere: until
// [Spawner.UseCgroups] it finds a tree by process group, session and parents.
// Files that are open by then are closed in all children of this program.
func NewSpawner() (*Spawner, error) {
	s := &Spawner{base: baseEnv(os.Environ()), self: ownAccount()}
	s.own = slices.Clip(environ(s.base, s.self, Spec{}))
	s.open()
	return s, nil
}

// UseCgroups makes each process start in a cgroup of its own, which serves to find and
// end its whole tree. It fails if there is no cgroup v2 with cgroup.kill (Linux 5.14)
// that the agent may write to; nothing changes then. It must be called before the first
// Start.
//
// Another goroutine calls full, once, when so many cgroups cannot be removed that the
// oldest of them are left to the next agent.
func (s *Spawner) UseCgroups(full func(left int)) error { return s.useCgroups(full) }

// StartWay says how processes are started, for people, and why not in a better way; nil:
// there is none. Unless it is "clone3", a start that hangs can hold up the whole agent.
func (s *Spawner) StartWay() (way string, why error) { return s.startWay() }

// StartsStuck returns how many starts hang that could not be ended.
func (s *Spawner) StartsStuck() int { return s.startsStuck() }

// CgroupsKept returns how many cgroups of processes that were reaped are still there, because
// something is in them. 0 without cgroups.
func (s *Spawner) CgroupsKept() int { return s.cgroupsKept() }

// Groups returns the directories of the control groups that processes are in, but for what could
// not be given one. There are none without cgroups.
func (s *Spawner) Groups() []string { return s.groups() }

// Close frees what the Spawner holds. Its processes must have been reaped.
// Cgroups in which daemons live on are left to them.
func (s *Spawner) Close() error { return s.close() }

// Start is [Spawner.StartContext] without an end to a start that hangs.
func (s *Spawner) Start(spec Spec) (*Process, error) {
	return s.StartContext(context.Background(), spec)
}

// StartContext starts a process. It blocks until that has become the command, which
// may hang, or until ctx ends: the error is a [*HungError] then. Other errors wrap
// one of this package's classes. The caller must reap the process ([Process.Wait], then
// [Process.Reap]) and deal with each stream that the Spec wants.
func (s *Spawner) StartContext(ctx context.Context, spec Spec) (*Process, error) {
	if err := checkStrings(spec); err != nil {
		return nil, err
	}
	if err := s.CheckLimits(spec.Limits); err != nil {
		return nil, err
	}
	user, err := s.account(spec.User)
	if err != nil {
		return nil, err
	}
	env := s.own
	if spec.User != "" || spec.ClearEnv || len(spec.Env) > 0 || spec.Terminal != nil {
		env = environ(s.base, user, spec)
	}
	spec.Dir = startDir(spec.Dir, user.home)
	paths, err := candidates(spec.Argv[0], env, spec.Dir)
	if err != nil {
		return nil, err
	}
	p, err := s.start(ctx, spec, launch{paths: paths, env: env, user: user})
	if err == nil {
		p.notes = user.notes
	}
	return p, err
}

// A launch is what a [Spec] comes to in this guest.
type launch struct {
	paths []string // the files that may be the command's, in the order of the search
	env   []string
	user  account
}
