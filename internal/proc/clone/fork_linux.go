package clone

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// This is the only file that uses syscall.ForkExec, whose child keeps the thread that
// made it, with its part of the Go runtime, until its execve is over.

// A forking is a start by syscall.ForkExec.
type forking struct {
	*engine
	*Request
	moved error // why the child could not be moved to its cgroup
}

// fork starts the program of r. ForkExec says by its error alone what has failed, so
// each path is a child of its own, and so is the question whether it was the directory.
func (e *engine) fork(r *Request) (*Child, error) {
	f := &forking{engine: e, Request: r}
	if r.Dir != "" {
		return f.search(r.Dir)
	}
	if r.Home == "" || r.Home == "/" {
		return f.search("/")
	}
	child, err := f.search(r.Home)
	if failed, ok := errors.AsType[*StepError](err); ok && failed.Step == StepChdir {
		child, err = f.search("/")
		if err == nil {
			child.HomeErr = failed
		}
	}
	return child, err
}

// search tries the paths in a directory.
func (f *forking) search(dir string) (*Child, error) {
	var best *StepError
	for _, path := range f.Paths {
		child, err := f.exec(path, dir)
		if err == nil {
			return child, nil
		}
		failed := f.failure(path, dir, err)
		if best == nil || best.worse(failed) {
			best = failed
		}
		if errno, ok := errors.AsType[unix.Errno](err); !ok || errno >= 64 || missing&(1<<errno) == 0 {
			best = failed
			break
		}
		if best.Step == StepChdir {
			break
		}
	}
	return nil, best
}

// worse says whether another failure is what a search ends with: see table.notFound.
func (e *StepError) worse(than *StepError) bool {
	return !errors.Is(e, unix.EACCES) && (errors.Is(than, unix.EACCES) || than.Found || !e.Found)
}

// failure says which step failed.
func (f *forking) failure(path, dir string, err error) *StepError {
	if !f.begins() {
		return &StepError{Step: StepFork, Err: err}
	}
	if errno := f.enters(dir); errno != nil {
		return &StepError{Step: StepChdir, Path: dir, Err: errno}
	}
	info, statErr := os.Stat(pathIn(dir, path))
	return &StepError{Step: StepExecve, Path: path, Err: err, Found: statErr == nil, IsDir: statErr == nil && info.IsDir()}
}

func pathIn(dir, path string) string {
	if path != "" && path[0] == '/' {
		return path
	}
	return dir + "/" + path
}

// begins says whether a child gets as far as its directory.
func (f *forking) begins() bool { return errors.Is(f.try("", "/"), unix.ENOENT) }

// enters returns why a child cannot enter dir. Two paths that do not exist fail with
// different errors once it has.
func (f *forking) enters(dir string) error {
	err := f.try("", dir)
	if errors.Is(err, unix.ENOENT) && errors.Is(f.try("/dev/null/none", dir), unix.ENOTDIR) {
		return nil
	}
	return err
}

// try starts what cannot be executed. It has few arguments: a kernel may look at them before it
// looks for the file.
func (f *forking) try(path, dir string) error {
	short := *f.Request
	short.Argv, short.Env = []string{"none"}, nil
	tried := &forking{engine: f.engine, Request: &short}
	child, err := tried.exec(path, dir)
	if err == nil { // it has been made executable
		_ = unix.Kill(child.PID, unix.SIGKILL) // nobody has reaped it
		f.held.reap(child)
	}
	return err
}

func (f *forking) exec(path, dir string) (*Child, error) {
	pidfd := -1
	attr := &syscall.ProcAttr{
		Dir: dir, Env: f.Env, Files: f.Files[:],
		Sys: &syscall.SysProcAttr{Setsid: true, Setctty: f.Terminal, Ctty: 0, PidFD: &pidfd},
	}
	if f.User != nil {
		attr.Sys.Credential = &syscall.Credential{Uid: f.User.UID, Gid: f.User.GID, Groups: f.User.Groups}
	}
	f.moved = nil
	pid, err := f.config.Fork(func() (int, error) { return f.placed(path, attr) })
	if err != nil {
		return nil, err
	}
	child := &Child{PID: pid, CgroupErr: f.moved}
	if pidfd >= 0 {
		child.PidFD = newPidFD(pidfd)
	}
	return child, nil
}

// placed starts a child in its cgroup. Without clone3 the child is moved there once it
// has started: what it forks before that stays outside.
func (f *forking) placed(path string, attr *syscall.ProcAttr) (int, error) {
	if f.Cgroup == nil {
		return f.forkExec(path, attr)
	}
	if !f.noClone3.Load() {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, *f.Cgroup
		pid, err := f.forkExec(path, attr)
		if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
			return pid, err
		}
		attr.Sys.UseCgroupFD = false
	}
	pid, err := f.forkExec(path, attr)
	if err == nil {
		f.noClone3.Store(true)
		f.moved = move(pid, *f.Cgroup)
	}
	return pid, err
}

// move moves a process to a cgroup.
func move(pid, cgroup int) error {
	fd, err := unix.Openat(cgroup, "cgroup.procs", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "cgroup.procs", Err: err}
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, strconv.AppendInt(nil, int64(pid), 10))
	return os.NewSyscallError("write cgroup.procs", err)
}

// forkExec forks from a thread that has nothing that the child must not have. With a
// user it is a thread with a session keyring of its own, which is not used again.
func (f *forking) forkExec(path string, attr *syscall.ProcAttr) (pid int, err error) {
	if f.User == nil && f.thread.plain() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		f.thread.setSlack()
		return syscall.ForkExec(path, f.Argv, attr)
	}
	children := make(chan forked)
	go f.forkAlone(path, attr, children) // ends with the fork
	child := <-children
	return child.pid, child.err
}

// A forked is what syscall.ForkExec returns.
type forked struct {
	pid int
	err error
}

// forkAlone forks from a thread that ends with it.
func (f *forking) forkAlone(path string, attr *syscall.ProcAttr, to chan<- forked) {
	runtime.LockOSThread()
	var child forked
	if child.err = f.prepareThread(); child.err == nil {
		child.pid, child.err = syscall.ForkExec(path, f.Argv, attr)
	}
	to <- child
}

func (f *forking) prepareThread() error {
	f.thread.setSlack()
	if f.thread.inherits() {
		own := f.thread.withoutInheritable()
		_ = unix.Capset(capabilityHeader(), &own[0])
	}
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil)
	if f.User == nil {
		return nil
	}
	_, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) { // see noKeyrings
		return nil
	}
	return err
}
