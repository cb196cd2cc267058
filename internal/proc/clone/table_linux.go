package clone

import (
	"math"
	"unsafe"

	"golang.org/x/sys/unix"
)

// After these errors of execve the next path is tried, as by execvp(3) of the GNU C
// library. It goes on after ESTALE and ETIMEDOUT too, which step.tolerated cannot name.
const missing = 1<<unix.ENOENT | 1<<unix.ENOTDIR | 1<<unix.ENODEV | 1<<unix.EACCES

// A kernel or a filter without keyrings answers by these errors. EDQUOT must not be
// among them: the user would get this program's keyring.
const noKeyrings = 1<<unix.ENOSYS | 1<<unix.EPERM

// A table is a Request as the child carries it out.
type table struct {
	*slot
	execs  int // the first step that is an execve
	probes int // the first that looks why none has worked; there are two for each path
	home   int // the step that enters the home; -1: none
	unshed int // the step after which the child has descriptors of its own; -1: from the start
	paths  []string
}

const stepsBesidePaths = 25

func roomFor(r *Request) int { return stepsBesidePaths + 3*len(r.Paths) }

// sizeOf returns how many bytes a table takes at most.
func sizeOf(r *Request) int {
	const alignments = 256
	size := headerSize + roomFor(r)*stepSize + int(unsafe.Sizeof(cloneArgs{})) + stackSize + alignments
	for _, list := range [][]string{r.Paths, r.Argv, r.Env} {
		for _, str := range list {
			size += len(str) + 9
		}
	}
	size += len(r.Dir) + len(r.Home)
	if r.User != nil {
		size += 4 * len(r.User.Groups)
	}
	return size
}

// stepMove moves the child to its cgroup.
const stepMove = "cgroup.procs"

// write writes the table. The descriptors are those of the child's streams; a child that
// shares this program's descriptors parts from it soon. If there is a door, the child moves
// to its cgroup before that.
func (e *engine) write(s *slot, r *Request, descriptors [3]uintptr, shares bool, door int) *table {
	s.reset(roomFor(r))
	t := &table{slot: s, home: -1, unshed: -1, paths: r.Paths}
	if door >= 0 {
		s.call(stepMove, unix.SYS_WRITE, uintptr(door), s.text("0"), 1)
	}
	if shares {
		t.unshed = s.steps
		s.call("close_range", unix.SYS_CLOSE_RANGE, lowLimit, math.MaxUint32, unix.CLOSE_RANGE_UNSHARE)
	}
	s.call("setsid", unix.SYS_SETSID)
	s.call("rt_sigprocmask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, s.numbers([]uint32{0, 0}), 0, 8)
	for i, fd := range descriptors {
		s.call("dup3", unix.SYS_DUP3, fd, uintptr(i), 0)
	}
	if e.way == Table {
		// A child that hangs must hold no end of another's pipe.
		s.call("close_range", unix.SYS_CLOSE_RANGE, 3, math.MaxUint32, 0)
	}
	if r.Terminal {
		s.call("ioctl(TIOCSCTTY)", unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 1)
	}
	if l, ok := restoredLimit(); ok {
		at := s.reserve(16, 8)
		*(*unix.Rlimit)(s.at(at)) = l
		s.add(name{step: "prlimit64"}, anyErrno, unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(s.at(at)), 0)
	}
	e.thread.shed(s)
	t.become(r.User)
	t.enter(r)
	t.search(r)
	return t
}

// become changes the user. The session keyring is of its own, since that of this program
// may have keys that the user must not read; it is made by root, because a user may not
// have more than kernel.keys.maxkeys.
func (t *table) become(u *User) {
	if u == nil {
		return
	}
	t.add(name{step: "keyctl"}, noKeyrings, unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0)
	t.call("setgroups", unix.SYS_SETGROUPS, uintptr(len(u.Groups)), t.numbers(u.Groups))
	t.call("setgid", unix.SYS_SETGID, uintptr(u.GID))
	same := ^uintptr(0)
	t.call("setresuid", unix.SYS_SETRESUID, same, uintptr(u.UID), same)
	t.call("prctl(PR_SET_DUMPABLE)", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	t.call("setresuid", unix.SYS_SETRESUID, uintptr(u.UID), uintptr(u.UID), uintptr(u.UID))
	// As pam_keyinit(8): what the user keeps from login to login is found in the session.
	user, session := unix.KEY_SPEC_USER_KEYRING, unix.KEY_SPEC_SESSION_KEYRING
	t.add(name{step: "keyctl"}, anyErrno, unix.SYS_KEYCTL, unix.KEYCTL_LINK, uintptr(user), uintptr(session))
}

// enter changes the directory.
func (t *table) enter(r *Request) {
	if r.Dir != "" {
		t.add(name{StepChdir, r.Dir}, 0, unix.SYS_CHDIR, t.text(r.Dir))
		return
	}
	t.add(name{StepChdir, "/"}, 0, unix.SYS_CHDIR, t.text("/"))
	if r.Home != "" && r.Home != "/" {
		t.home = t.steps
		t.add(name{StepChdir, r.Home}, anyErrno, unix.SYS_CHDIR, t.text(r.Home))
	}
}

// search tries the paths. If none works it looks whether they are there at all, for the
// error message: this program may be another user, and might hang.
func (t *table) search(r *Request) {
	argv, env := t.list(r.Argv), t.list(r.Env)
	addresses := make([]uintptr, len(r.Paths))
	t.execs = t.steps
	for i, path := range r.Paths {
		addresses[i] = t.text(path)
		t.add(name{StepExecve, path}, missing, unix.SYS_EXECVE, addresses[i], argv, env)
	}
	t.probes = t.steps
	here := unix.AT_FDCWD
	for i, path := range r.Paths {
		t.add(name{"faccessat", path}, anyErrno, unix.SYS_FACCESSAT, uintptr(here), addresses[i], unix.F_OK)
		t.add(name{"openat", path}, anyErrno, unix.SYS_OPENAT, uintptr(here), addresses[i], unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
	}
	t.call("exit_group", unix.SYS_EXIT_GROUP, exitError)
}

// An outcome is what a table says once the child has given its memory up.
type outcome int

const (
	started outcome = iota // unless it was killed in the midst of execve
	refused
	killed
)

func (t *table) outcome() outcome {
	i := t.current()
	switch {
	case i < 0:
		return killed
	case i == t.steps-1: // exit_group
		return refused
	case t.result(i) != pending:
		return refused
	case i >= t.execs && i < t.probes:
		return started
	default:
		return killed
	}
}

// failure says why a start was refused.
func (t *table) failure() *StepError {
	i := t.current()
	if i == t.steps-1 {
		return t.notFound()
	}
	e := &StepError{Step: t.names[i].step, Path: t.names[i].path, Err: t.errno(i)}
	e.Found = e.Step == StepExecve
	return e
}

// notFound says why none of the paths was executed. A path with EACCES counts most, then
// a file that is there and whose interpreter is missing, then the last path.
func (t *table) notFound() *StepError {
	best := len(t.paths) - 1
	for i := range t.paths {
		if t.errno(t.execs+i) == unix.EACCES {
			best = i
			break
		}
		if t.found(i) && !t.found(best) {
			best = i
		}
	}
	return &StepError{
		Step: StepExecve, Path: t.paths[best], Err: t.errno(t.execs + best),
		Found: t.found(best), IsDir: t.result(t.probes+2*best+1) >= 0,
	}
}

func (t *table) found(i int) bool { return t.result(t.probes+2*i) == 0 }

// homeErr returns why the child is not in its home.
func (t *table) homeErr() error {
	if t.home < 0 {
		return nil
	}
	if errno := t.errno(t.home); errno != 0 {
		return &StepError{Step: StepChdir, Path: t.names[t.home].path, Err: errno}
	}
	return nil
}
