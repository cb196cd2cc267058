package proc

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
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
