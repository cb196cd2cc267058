// Package local makes connections to services of the machine that it runs on,
// over the loopback interface and Unix sockets, and moves their bytes. It never
// leaves the machine, and asks no resolver. The host's side moves the bytes of
// connections that it has accepted.
package local

import (
	"context"
	"errors"
	"fmt"
	"os"
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

// translate makes an error of the kernel's one of this package's.
func translate(err error) error {
	if class := classOf(err); class != nil {
		return fmt.Errorf("%w: %w", class, err)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: no answer within %v: %w", ErrResources, DialTimeout, err)
	}
	return err
}
