package local

import (
	"errors"
	"syscall"
)

// classOf returns which of this package's errors an error of the kernel's is a case
// of, or nil.
func classOf(err error) error {
	for _, k := range []struct {
		class  error
		errnos []syscall.Errno
	}{
		{ErrNotFound, []syscall.Errno{
			syscall.ECONNREFUSED, syscall.ENOENT, syscall.ENOTDIR, syscall.ECONNRESET, syscall.ENETUNREACH, syscall.EHOSTUNREACH,
		}},
		{ErrNotPermitted, []syscall.Errno{syscall.EACCES, syscall.EPERM}},
		{ErrResources, []syscall.Errno{
			syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.ENOSPC, // ENOSPC: max_user_watches
			syscall.EAGAIN, syscall.ETIMEDOUT, // the service's queue of connections is full
			syscall.EADDRNOTAVAIL, // all ports are in use
		}},
		{ErrInvalid, []syscall.Errno{syscall.EPROTOTYPE, syscall.EINVAL, syscall.ELOOP}},
		{ErrUnsupported, []syscall.Errno{syscall.EAFNOSUPPORT}},
	} {
		for _, errno := range k.errnos {
			if errors.Is(err, errno) {
				return k.class
			}
		}
	}
	return nil
}

// isReset says whether the peer has reset the connection.
func isReset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }

// resetOnClose has a socket's close reset its connection.
func resetOnClose(fd uintptr) error {
	return syscall.SetsockoptLinger(int(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, &syscall.Linger{Onoff: 1})
}
