package proc

import (
	"os"
	"slices"
)

// A Spawner starts processes. It is safe for concurrent use.
type Spawner struct {
	base []string // environment
	own  []string // environment of a process of which nothing else is asked
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

// UseCgroups makes each process start in a cgroup of its own, by which its
// whole tree is found and ended. It fails if there is no cgroup v2 with
// cgroup.kill (Linux 5.14) that the agent may write to; nothing changes then.
// It must be called before the first Start. full is called once, by another goroutine,
// if so many cgroups that hold something are left behind that the oldest of them are no
// longer tried to be removed: the next agent does that.
func (s *Spawner) UseCgroups(full func(left int)) error { return s.useCgroups(full) }

// Close frees what the Spawner holds. Its processes must have been reaped.
// Cgroups in which daemons live on are left to them.
func (s *Spawner) Close() error { return s.close() }

// Start starts a process. The error wraps one of this package's classes.
// The caller must reap it ([Process.Wait], then [Process.Reap]) and deal with
// each stream that the Spec wants.
func (s *Spawner) Start(spec Spec) (*Process, error) {
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
	dir, err := directory(spec.Dir, user)
	if err != nil {
		return nil, err
	}
	path, err := lookCommand(spec.Argv[0], env, dir)
	if err != nil {
		return nil, err
	}
	return s.start(spec, launch{path: path, dir: dir, env: env, user: user})
}

// A launch is what a [Spec] comes to in this guest.
type launch struct {
	path string // of the command's file
	dir  string
	env  []string
	user account
}
