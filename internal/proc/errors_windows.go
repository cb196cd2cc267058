package proc

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/windows"
)

// startError classes what failed before there was a process.
func startError(err error) error {
	if scarce(err) {
		return fmt.Errorf("%w: %w", ErrResources, err)
	}
	return err
}

// scarce says whether the system has run out of something, which it may have again.
func scarce(err error) bool {
	return isAny(err,
		windows.ERROR_NOT_ENOUGH_MEMORY, windows.ERROR_OUTOFMEMORY, windows.ERROR_NO_SYSTEM_RESOURCES,
		windows.ERROR_COMMITMENT_LIMIT, windows.ERROR_TOO_MANY_OPEN_FILES, windows.ERROR_NOT_ENOUGH_QUOTA,
		windows.ERROR_PIPE_BUSY)
}

func isAny(err error, list ...error) bool {
	for _, e := range list {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// createError classes why there is no process.
func createError(c *creation, err error) error {
	path := clipPath(c.path)
	switch {
	case errors.Is(err, windows.ERROR_DIRECTORY):
		return directoryError(c.dir)
	case isAny(err, windows.ERROR_FILE_NOT_FOUND, windows.ERROR_PATH_NOT_FOUND):
		return fmt.Errorf("%s: %w: %w", path, ErrNotFound, err)
	case isAny(err, windows.ERROR_ACCESS_DENIED, windows.ERROR_BAD_EXE_FORMAT, windows.ERROR_EXE_MACHINE_TYPE_MISMATCH,
		windows.ERROR_INVALID_EXE_SIGNATURE, windows.ERROR_EXE_MARKED_INVALID, windows.ERROR_BAD_FORMAT):
		return fmt.Errorf("%s: %w: %w", path, ErrNotExecutable, err)
	case errors.Is(err, windows.ERROR_ELEVATION_REQUIRED):
		return fmt.Errorf("%s: %w: %w", path, ErrNotPermitted, err)
	case errors.Is(err, windows.ERROR_FILENAME_EXCED_RANGE):
		return invalidError{fmt.Errorf("%s: the command line, the environment or the directory is too long: %w", path, err)}
	default:
		return fmt.Errorf("%s: %w", path, startError(os.NewSyscallError("CreateProcess", err)))
	}
}

// directoryError says why the directory that was asked for cannot be had.
func directoryError(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return invalidError{fmt.Errorf("directory %s: %w", clipPath(dir), errors.Unwrap(err))}
	case !info.IsDir():
		return invalidError{fmt.Errorf("directory %s: it is a file", clipPath(dir))}
	default:
		return invalidError{fmt.Errorf("directory %s: %w", clipPath(dir), windows.ERROR_DIRECTORY)}
	}
}
