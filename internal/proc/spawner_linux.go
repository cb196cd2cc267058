package proc

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Spawner starts processes. It is safe for concurrent use.
type Spawner struct {
	null      nullDevice
	terminals reserve
	base      []string // environment
	own       []string // environment of a process of which nothing else is asked
	cgroups   *cgroups // nil: none to be had
	noCgroups error    // why
	self      account
	thread    *thread
}

// NewSpawner returns a Spawner that works everywhere: until
// [Spawner.UseCgroups] it finds a tree by process group, session and parents.
// Files that are open by then are closed in all children of this program.
func NewSpawner() (*Spawner, error) {
	closeOnExec()
	catchIgnored()
	s := &Spawner{
		base: baseEnv(os.Environ()), self: ownAccount(), thread: currentThread(),
		noCgroups: errors.New("disabled"),
	}
	s.own = slices.Clip(environ(s.base, s.self, Spec{}))
	// What it opens now, nobody can take away.
	_, _ = s.null.open()
	s.terminals.fill()
	return s, nil
}

// UseCgroups makes each process start in a cgroup of its own, by which its
// whole tree is found and ended. It fails where there is no cgroup v2 with
// cgroup.kill (Linux 5.14) that the agent may write to; nothing changes then.
// It must be called before the first Start.
func (s *Spawner) UseCgroups() error {
	c, err := openCgroups()
	if err != nil {
		s.noCgroups = err
		return err
	}
	s.cgroups = c
	return nil
}

// Close frees what the Spawner holds. Its processes must have been reaped.
// Cgroups in which daemons live on are left to them.
func (s *Spawner) Close() error {
	err := errors.Join(s.null.close(), s.terminals.close())
	if s.cgroups != nil {
		err = errors.Join(err, s.cgroups.close())
	}
	return err
}

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
	credential, err := s.credential(user)
	if err != nil {
		return nil, err
	}
	streams, err := s.openStreams(spec, user)
	if err != nil {
		return nil, startError(err)
	}
	return s.start(spec, path, streams, &syscall.ProcAttr{
		Dir:   dir,
		Env:   env,
		Files: streams.child[:],
		// The terminal, if any, is the child's descriptor 0.
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: spec.Terminal != nil, Ctty: 0, Credential: credential},
	})
}

func (s *Spawner) start(spec Spec, path string, pipes *pipes, attr *syscall.ProcAttr) (p *Process, err error) {
	defer pipes.closeChild()
	p = &Process{
		stdin: pipes.stdin, stdout: pipes.stdout, stderr: pipes.stderr, terminal: pipes.terminal,
		spawner: s,
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

// fork starts the process in a cgroup of its own, where one is to be had. One that
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
		if p.cgroup == nil || !p.cgroup.spoilt(err) {
			return execError(path, attr, err)
		}
		g := p.cgroup
		p.cgroup = nil
		_ = g.remove() // it stays where a cgroup is in it
		if !g.used {
			p.noCgroup = fmt.Errorf("%s: %w", g.path, err)
		}
	}
}

// takeCgroup leaves p without a cgroup where none is to be had: the hierarchy has
// gone, or is read-only by now. That such a VM can be entered is worth more than
// that every daemon is found. A shortage is another matter, and passes; and
// limits cannot be without.
func (p *Process) takeCgroup(limits Limits) (err error) {
	if p.spawner.cgroups == nil {
		return nil
	}
	if p.noCgroup == nil {
		p.cgroup, err = p.spawner.cgroups.take(limits)
		if err == nil || scarce(err) || errors.Is(err, ErrUnsupported) {
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
		attr.Sys.CgroupFD = p.cgroup.fd()
	}
	fork := func() (int, error) { return p.spawner.forkExec(path, argv, attr) }
	pid, err := own.start(fork)
	if errors.Is(err, unix.EAGAIN) && own.sweep(true) { // zombies had all pids there are
		return own.start(fork)
	}
	return pid, err
}

// ordinary undoes what the child has inherited from an agent that is protected
// from the OOM killer. It is best effort: a child that has exited is fine too.
func ordinary(pid int) {
	if !protected() {
		return
	}
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("0"), 0)
}

func checkStrings(spec Spec) error {
	if len(spec.Argv) == 0 || spec.Argv[0] == "" {
		return invalidError{errors.New("no command")}
	}
	for _, s := range spec.Argv {
		if err := checkNUL("argument", s); err != nil {
			return err
		}
	}
	for _, s := range spec.Env {
		if err := checkNUL("environment entry", s); err != nil {
			return err
		}
		if !strings.Contains(s, "=") || s[0] == '=' {
			return invalidError{fmt.Errorf("environment entry %.64q: want KEY=VALUE", s)}
		}
	}
	if spec.Terminal != nil {
		if err := checkNUL("type of terminal", spec.Terminal.Term); err != nil {
			return err
		}
	}
	return checkNUL("directory", spec.Dir)
}

// checkNUL refuses what the kernel would cut off.
func checkNUL(what, s string) error {
	if strings.ContainsRune(s, 0) {
		return invalidError{fmt.Errorf("%s %.64q has a NUL byte", what, s)}
	}
	return nil
}

// startError classes what failed before there was a process.
func startError(err error) error {
	if scarce(err) {
		return fmt.Errorf("%w: %w", ErrResources, err)
	}
	return err
}

// scarce says whether the kernel has run out of something, which it may have
// again.
func scarce(err error) bool {
	for _, errno := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EAGAIN, unix.ENOSPC} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// execError classes what fork, chdir, setuid or execve said.
func execError(path string, attr *syscall.ProcAttr, err error) error {
	switch {
	case errors.Is(err, unix.EACCES) && attr.Sys.Credential != nil:
		return fmt.Errorf("%s in directory %s as uid %d: %w: %w",
			path, attr.Dir, attr.Sys.Credential.Uid, ErrNotExecutable, err)
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOEXEC), errors.Is(err, unix.ETXTBSY),
		errors.Is(err, unix.EISDIR), errors.Is(err, unix.ELIBBAD):
		return fmt.Errorf("%s: %w: %w", path, ErrNotExecutable, err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		// The file was there a moment ago: it is its interpreter that is missing.
		return fmt.Errorf("%s: its interpreter or loader: %w: %w", path, ErrNotFound, err)
	case errors.Is(err, unix.E2BIG):
		return invalidError{fmt.Errorf("%s: %w", path, err)}
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: %w: %w", path, ErrNotPermitted, err)
	default:
		return fmt.Errorf("%s: %w", path, startError(err))
	}
}
