//go:build linux

// Package local makes connections to services of the machine that it runs on,
// over the loopback interface and Unix sockets, and moves their bytes. It never
// leaves the machine, and asks no resolver.
package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Errors say what has kept a connection from being made.
var (
	ErrInvalid      = errors.New("bad address")
	ErrNotFound     = errors.New("no service listens on this address")
	ErrNotPermitted = errors.New("not permitted")
	ErrResources    = errors.New("out of resources")
	ErrUnsupported  = errors.New("not supported")

	// ErrBroken says that a connection has ended by an error, not by its peer's
	// closing it.
	ErrBroken = errors.New("connection broken")
)

// translate is where what the kernel says becomes this package's.
func translate(err error) error {
	for _, k := range []struct {
		kind   error
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
				return fmt.Errorf("%w: %w", k.kind, err)
			}
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: no answer within %v: %w", ErrResources, DialTimeout, err)
	}
	return err
}
