// Package proc starts one command as one process tree, feeds it, reads it,
// signals it, ends it and reaps it. It knows no wire format and writes no log.
//
// A process waits without a thread: by a pidfd in the runtime's poller, or by a wait of
// Windows's thread pool. An idle output holds no buffer, and ending a tree takes no lock
// that copying can hold. It runs on Linux and Windows: elsewhere Start returns
// [ErrUnsupported].
//
// On Windows a tree is a job object. On Linux no number of the kernel's is trusted. The zombie of a main process is kept until
// [Process.Reap]: while it is there, its pid, process group and session cannot be
// taken by another process. Any other process is signalled by a pidfd, after a
// look at whose it is: no signal hits a stranger that has taken its pid.
package proc

import (
	"errors"
	"fmt"
	"time"
)

// ActAsHelper is called first by every program that uses a Spawner. The agent for Windows starts
// itself as a helper that interrupts a process: then ActAsHelper does that, and the program exits
// with status and does nothing else.
func ActAsHelper() (status int, acted bool) { return actAsHelper() }

// DrainIdle is how long output that background processes hold open may be
// silent, once the main process has exited, before it is cut.
const DrainIdle = 2 * time.Second

// Errors of [Spawner.Start], which class its failures for the caller. No process has
// been started if Start returns an error.
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

// A HungError says that a start was ended, by its context, before the process had become
// the command. It wraps no class.
type HungError struct {
	// PID is of a child that SIGKILL has not ended: it is stuck in the kernel, or in a
	// file system whose server does not answer. 0: nothing is left of it.
	PID int

	step error // says where it hung
}

func (e *HungError) Error() string { return e.step.Error() }

// ErrExited is returned by Signal when the process has exited.
var ErrExited = errors.New("process has exited")

// killPatience is how long a tree that has been sent SIGKILL is waited
// for. Only a process that is stuck in the kernel takes longer.
const killPatience = 5 * time.Second

// ErrStuck says that the main process has not ended though it has been sent
// SIGKILL: it is stuck in the kernel, or frozen.
var ErrStuck = fmt.Errorf("the process did not exit within %v of SIGKILL", killPatience)

// An invalidError wraps [ErrInvalid]; its text says enough without "invalid".
type invalidError struct{ error }

func (e invalidError) Is(target error) bool { return target == ErrInvalid }

func (e invalidError) Unwrap() error { return e.error }
