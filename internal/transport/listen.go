package transport

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// Errors of [Listen].
var (
	// ErrNoDevice says that this machine has no vsock transport, or not yet.
	ErrNoDevice = errors.New("no vsock device")

	// ErrInUse says that somebody else listens on the address.
	ErrInUse = errors.New("address already in use")
)

// Listen listens on a. A Unix socket gets mode 0600, and takes the place of one
// that nobody listens on any more. A listener for vsock accepts those alone whom
// the policy admits; one for a Unix socket accepts anybody who reaches it: the
// caller asks the policy about each connection.
func Listen(a Address, p Policy) (net.Listener, error) {
	var ln net.Listener
	var err error
	switch a.Scheme {
	case schemeVsock:
		ln, err = listenVsock(a.Port, p)
	case schemeUnix:
		ln, err = listenUnix(a.Path)
	default:
		err = errors.New("unknown scheme")
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		err = ErrInUse
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", a, err)
	}
	return ln, nil
}

func listenUnix(path string) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	return listenPrivate(path)
}

// removeStale removes a socket that an agent which was killed left behind: one
// that refuses connections.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s exists and is not a socket", path)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		_ = conn.Close()
		return ErrInUse
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
