// Package clone starts a program in a child process without stopping this one.
//
// The child of vfork(2) keeps the thread that made it, and with it part of the Go
// runtime, until its execve(2) is over. One execve that hangs, on a file system whose
// server has stopped for example, stops the whole program at the next garbage
// collection. The children of an [Engine] leave this program running: clone3(2) returns
// at once, and the child carries out a table of system calls in assembler. A start holds
// some memory and no thread, and its context ends it if it hangs.
//
// If the kernel, or a filter of system calls, lacks what that needs, an Engine uses
// [syscall.ForkExec]: see [Way].
package clone

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// A Way is how an Engine starts children.
type Way int

// The ways, the best first.
const (
	// Table starts a child that shares memory and descriptors with this program, and
	// takes a copy of the few descriptors that it needs.
	Table Way = iota + 1

	// Copied is Table without close_range(2), of Linux 5.9: the kernel copies all
	// descriptors for each child. A child that hangs holds them.
	Copied

	// Fork is [syscall.ForkExec]. A start that hangs stops the program.
	Fork
)

func (w Way) String() string {
	switch w {
	case Table:
		return "clone3"
	case Copied:
		return "clone3, descriptors copied"
	case Fork:
		return "vfork"
	default:
		return "unknown"
	}
}

// Config is what an Engine needs.
type Config struct {
	// Fork calls fork, which returns the pid of a new child. Nobody but the Engine may
	// wait for that child until Start has returned it.
	Fork func(fork func() (pid int, err error)) (int, error)

	// Reap waits, with WNOHANG, for a child that Start does not return. It says whether
	// the child is gone.
	Reap func(pid int) bool

	Way Way // 0: the best that works here
}

// An Engine starts programs. It is safe for concurrent use.
type Engine struct{ engine }

// Open returns an Engine. The caller closes it.
func Open(c Config) *Engine { return open(c) }

// Way returns how the Engine starts children, and why not in a better way: nil if there
// is none.
func (e *Engine) Way() (Way, error) { return e.way, e.why }

// MoveIn has children start in this program's cgroup from now on, and move to their own
// as their first step. It says whether they did not do so before.
func (e *Engine) MoveIn() bool { return e.moveIn() }

// Stuck returns how many children that cannot be killed still use the Engine's memory.
func (e *Engine) Stuck() int { return e.stuck() }

// Close frees what the Engine holds, except for what children that are stuck may use.
// No Start may be under way.
func (e *Engine) Close() error { return e.close() }

// A Request says what to start. Its strings must have no NUL byte.
type Request struct {
	// Paths are tried in turn, as execvp(3) does with the directories of PATH: after
	// EACCES and if a file is not there, the next one is tried.
	Paths     []string
	Argv, Env []string

	Dir   string     // empty: Home, or / if Home cannot be entered
	Home  string     // empty: /
	Files [3]uintptr // descriptors for the child's standard streams, above 2

	Terminal bool  // the first of Files becomes the controlling terminal
	Cgroup   *int  // descriptor of the directory of the child's cgroup; nil: the same
	User     *User // nil: the same
}

// A User is what a child becomes before it changes its directory and looks for its
// program.
type User struct {
	UID, GID uint32
	Groups   []uint32 // supplementary
}

// A Child is a process that runs its program. The caller reaps it and closes PidFD.
type Child struct {
	PID   int
	PidFD *os.File // for the runtime's poller, if that takes it; nil: none

	// HomeErr says why the child is in / and not in its home; nil: it is not.
	HomeErr error

	// CgroupErr says why the child is not in the cgroup of its Request. nil: it is.
	CgroupErr error
}

// Start starts a program. It returns when the child has become that, or cannot. The
// error is a [*StepError], or a [*HungError] if ctx ended first, or wraps [ErrKilled] or
// [ErrCrowded]; there is no child then, except for a HungError's.
func (e *Engine) Start(ctx context.Context, r *Request) (*Child, error) { return e.start(ctx, r) }

// Errors of Start.
var (
	// ErrKilled says that the child was killed, by somebody else, before it had become
	// the program.
	ErrKilled = errors.New("killed before it became the command")

	// ErrStillborn is the ErrKilled of a child that was killed before its first step. In a
	// cgroup, that happens to all children if this program's own cgroup was killed once, or
	// that of the child: see [Engine.MoveIn].
	ErrStillborn = fmt.Errorf("%w, before its first step", ErrKilled)

	// ErrCrowded says that too many children hang that cannot be killed.
	ErrCrowded = fmt.Errorf("%d starts hang and cannot be killed", MaxStuck)
)

// MaxStuck is how many children there may be that hang and cannot be killed, before Start
// starts no more: each holds memory until it goes.
const MaxStuck = 64

// The steps that callers tell apart. Other steps have the names of their system calls.
const (
	StepChdir  = "chdir"
	StepExecve = "execve"
	StepFork   = "clone3" // also if syscall.ForkExec does not say which step failed
)

// A StepError says which step of a start the kernel has refused.
type StepError struct {
	Step string
	Path string // of the directory or the program; empty: the step has none
	Err  error  // a syscall.Errno

	// Of execve: the file is there, or it is a directory.
	Found, IsDir bool
}

func (e *StepError) Error() string { return stepName(e.Step, e.Path) + ": " + e.Err.Error() }

// Unwrap returns the errno.
func (e *StepError) Unwrap() error { return e.Err }

// A HungError says in which step a start was whose context ended.
type HungError struct {
	Step, Path string // as of a StepError
	PID        int    // of a child that SIGKILL did not end; 0: there is none
}

func (e *HungError) Error() string {
	switch {
	case e.PID != 0:
		return fmt.Sprintf("stuck in %s; SIGKILL does not end it", stepName(e.Step, e.Path))
	default:
		return "stuck in " + stepName(e.Step, e.Path)
	}
}

// stepName bounds what a request's path adds to a message.
func stepName(step, path string) string {
	const longest = 1024
	switch {
	case path == "":
		return step
	case len(path) > longest:
		path = path[:longest] + "…"
	}
	return step + " " + path
}
