package main

import (
	"errors"
	"fmt"

	"github.com/cocoonstack/cocoon-agent/client"
)

// Exit statuses. "client" has those of the command that it runs, and, for what
// keeps it from having one, those that a shell, env(1) and ssh(1) use.
const (
	statusFailure       = 1   // serve: see the log
	statusUsage         = 2   // the command line, except client's
	statusTimeout       = 124 // the command's --timeout ran out, as timeout(1)
	statusNotExecutable = 126 // POSIX, 2.8.2 Exit Status for Commands
	statusNotFound      = 127 // likewise
	statusTransport     = 255 // agent or transport failed, as ssh(1)
)

// usageStatus is the status of a command line that makes no sense. That of a command which
// exits with the status of another one must not be taken for it.
func usageStatus(err error) int {
	switch commandOf(err) {
	case clientName, rshName, "attach", "wait-exec":
		return statusTransport
	}
	return statusUsage
}

// A usageError says what is wrong with a command line that could be parsed.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func misuse(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// A clientError is a failure of "client", and where.
type clientError struct {
	target string // empty if err names it, or none is known
	err    error
}

func (e *clientError) Error() string {
	if e.target == "" {
		return e.err.Error()
	}
	return fmt.Sprintf("%s: %v", e.target, e.err)
}

func (e *clientError) Unwrap() error { return e.err }

// A statusError is an exit status that says all there is to say.
type statusError struct{ status int }

func (e *statusError) Error() string { return fmt.Sprintf("exit status %d", e.status) }

// statusOf returns the exit status for err, and the line for stderr, if any.
func statusOf(err error) (status int, line string) {
	if _, ok := errors.AsType[*clientError](err); !ok {
		if _, ok := errors.AsType[*usageError](err); ok {
			return statusUsage, err.Error()
		}
		if silent, ok := errors.AsType[*statusError](err); ok {
			return silent.status, ""
		}
		return statusFailure, err.Error()
	}
	if exit, ok := errors.AsType[*client.ExitError](err); ok {
		return exitStatus(exit, err.Error())
	}
	if early, ok := errors.AsType[*interruptedError](err); ok {
		return 128 + int(early.sig), err.Error()
	}
	if is[*expiredError](err) {
		return statusTimeout, err.Error()
	}
	status = statusTransport
	if remote, ok := errors.AsType[*client.RemoteError](err); ok {
		switch remote.Kind {
		case client.NotFound:
			status = statusNotFound
		case client.PermissionDenied:
			status = statusNotExecutable
		default:
		}
	}
	return status, err.Error()
}

// exitStatus returns no line if the status says it all. The status is never 0: a
// command that has ended by itself, with code 0, has no ExitError.
func exitStatus(exit *client.ExitError, text string) (status int, line string) {
	switch status = exit.ExitStatus(); {
	case exit.Reason() == "timeout":
		return statusTimeout, text
	case status <= 0: // an agent of version 1 does not say how it ended, or the command took its end for success
		return statusTransport, text
	case exit.ExitCode() > maxCode || exit.ExitCode() < -1: // Windows: text has all of it
		return status, text
	}
	switch exit.Reason() {
	case "exit", "signal", "killed":
		return status, ""
	default:
		return status, text
	}
}

// maxCode is the highest exit code that is a status.
const maxCode = 255
