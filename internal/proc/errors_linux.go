package proc

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc/clone"
)

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
	for _, errno := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EAGAIN, unix.ENOSPC, unix.EDQUOT} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// execError classes why a child has not become the command.
func execError(spec Spec, r *clone.Request, err error) error {
	if hung, ok := errors.AsType[*clone.HungError](err); ok {
		return &HungError{PID: hung.PID, step: err}
	}
	if errors.Is(err, clone.ErrCrowded) {
		return fmt.Errorf("%w: %w", ErrResources, err)
	}
	step, ok := errors.AsType[*clone.StepError](err)
	switch {
	case !ok:
		return fmt.Errorf("%.1024s: %w", spec.Argv[0], err)
	case step.Step == clone.StepChdir:
		return directoryError(step, r.User)
	case step.Step == clone.StepExecve:
		return commandError(spec, step, r)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: %w", ErrNotPermitted, err)
	default:
		return startError(err)
	}
}

// directoryError says why the directory that was asked for cannot be had.
func directoryError(step *clone.StepError, user *clone.User) error {
	switch {
	case errors.Is(step, unix.EACCES):
		return fmt.Errorf("directory %.1024s%s: %w: %w", step.Path, asUser(user), ErrNotPermitted, step.Err)
	case absent(step), errors.Is(step, unix.ELOOP), errors.Is(step, unix.ENAMETOOLONG):
		return invalidError{fmt.Errorf("directory %.1024s: %w", step.Path, step.Err)}
	default:
		return fmt.Errorf("directory %.1024s: %w", step.Path, startError(step.Err))
	}
}

// absent says whether a file is not there.
func absent(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) }

// asUser is the part of a message that tells the user.
func asUser(user *clone.User) string {
	if user == nil {
		return ""
	}
	return fmt.Sprintf(" as uid %d", user.UID)
}

// commandError says why the command was not executed.
func commandError(spec Spec, step *clone.StepError, r *clone.Request) error {
	path := step.Path
	if len(path) > maxPathText {
		path = path[:maxPathText] + "…"
	}
	switch err := step.Err; {
	case step.IsDir:
		return fmt.Errorf("%s: %w: it is a directory", path, ErrNotExecutable)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%s%s: %w: %w", path, asUser(r.User), ErrNotExecutable, err)
	case errors.Is(err, unix.ENOEXEC), errors.Is(err, unix.ETXTBSY), errors.Is(err, unix.EISDIR), errors.Is(err, unix.ELIBBAD):
		return fmt.Errorf("%s: %w: %w", path, ErrNotExecutable, err)
	case absent(err) && step.Found:
		return fmt.Errorf("%s: its interpreter or loader: %w: %w", path, ErrNotFound, err)
	case absent(err) && !strings.Contains(spec.Argv[0], "/"):
		return fmt.Errorf("%.256q: %w in PATH=%.1024s", spec.Argv[0], ErrNotFound, searchPath(r.Env))
	case absent(err), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENAMETOOLONG):
		return fmt.Errorf("%s: %w: %w", path, ErrNotFound, err)
	case errors.Is(err, unix.E2BIG):
		return invalidError{fmt.Errorf("%s: %w", path, err)}
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: %w: %w", path, ErrNotPermitted, err)
	default:
		return fmt.Errorf("%s: %w", path, startError(err))
	}
}

// maxPathText is how much of a path a message has.
const maxPathText = 1024
