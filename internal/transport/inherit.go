package transport

import "net"

// Inherit returns the listener that a file descriptor is, which somebody else
// has bound, and where it listens: a listening stream socket of AF_VSOCK or
// AF_UNIX. It takes fd, whatever it returns. The listener's Close leaves the
// socket, and a Unix socket's file, to whoever else has it. What [Listen] says of
// the policy is true of it.
func Inherit(fd int, p Policy) (net.Listener, Address, error) { return inherit(fd, p) }
