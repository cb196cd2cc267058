//go:build linux

// Package proc starts one command as one process tree, feeds it, reads it,
// signals it, ends it and reaps it. It knows no wire format and writes no log.
//
// A process waits without a thread (a pidfd in the runtime's poller), an idle
// output holds no buffer, and ending a tree takes no lock that copying can
// hold. It runs on Linux only.
//
// No number of the kernel's is trusted. The zombie of a main process is kept until
// [Process.Reap]: while it is there, its pid, process group and session cannot be
// taken by another process. Any other process is signalled by a pidfd, after a
// look at whose it is: no signal hits a stranger that has taken its pid.
package proc

import (
	"errors"
	"time"
)

// DrainIdle is how long output that background processes hold open may be
// silent, once the main process has exited, before it is cut.
const DrainIdle = 2 * time.Second

// Errors of [Spawner.Start], by which the caller can class what went wrong.
// No process has been started where Start returns an error.
var (
	// ErrInvalid says that the Spec makes no sense in this guest: an unknown
	// user, a directory that is not there, a NUL byte.
	ErrInvalid = errors.New("invalid")

	// ErrNotFound says that there is no such command.
	ErrNotFound = errors.New("command not found")

	// ErrNotExecutable says that the command is there and cannot be executed.
	ErrNotExecutable = errors.New("not executable")

	// ErrNotPermitted says that the agent lacks a privilege.
	ErrNotPermitted = errors.New("not permitted")

	// ErrResources says that the kernel has no more of something: processes,
	// memory, file descriptors.
	ErrResources = errors.New("out of resources")

	// ErrUnsupported says that this guest cannot do what the Spec asks for.
	ErrUnsupported = errors.New("not supported")
)

// An invalidError wraps [ErrInvalid]; its text says enough without "invalid".
type invalidError struct{ error }

func (e invalidError) Is(target error) bool { return target == ErrInvalid }

func (e invalidError) Unwrap() error { return e.error }

// A Spec says what to run.
type Spec struct {
	// Argv is the command and its arguments. A command without a slash is
	// looked up in the PATH of the process's own environment.
	Argv []string

	// Env lists KEY=VALUE on top of the base environment, or, with ClearEnv,
	// is the whole of it. The last of equal keys counts.
	Env      []string
	ClearEnv bool

	Dir  string // absolute; empty: the user's home, or / where there is none
	User string // "name", "uid", "name:group" or "uid:gid"; empty: the agent's own

	// Which of the standard streams are wanted as pipes. The others are /dev/null.
	Stdin, Stdout, Stderr bool

	// Merge makes stderr the same pipe as stdout. Stderr is then of no account.
	Merge bool

	// Terminal gives the process a controlling terminal of its own as all three
	// of its standard streams, whatever the fields above say: there are Stdin and
	// Stdout then, and no Stderr. nil: no terminal.
	Terminal *Terminal

	Limits Limits // start fails with [ErrUnsupported] where one cannot be set
}

// A Terminal is what a terminal begins as. Zero rows or columns stand for 24
// and 80, an empty Term for xterm.
type Terminal struct {
	Rows, Cols uint16
	Term       string
}

// An Exit is how a process ended.
type Exit struct {
	Code       int    // exit code; -1 where a signal ended it
	Signal     int    // 0 where it exited
	SignalName string // without SIG
	CoreDumped bool
	OOMKilled  bool // Limits.Memory was used up, and the kernel has killed it

	UserTime, SystemTime time.Duration // with that of waited-for children
	MaxRSS               int64         // bytes
}

// An Identity is what the kernel goes by when a user opens or connects to
// something.
type Identity struct {
	UID, GID uint32

	// Groups are all groups of the user, sorted, the primary one included:
	// initgroups(3). With an explicit group in "name:group" that is the only one.
	Groups []uint32
}
