package transport

import "net"

// Inherit returns the listener of a file descriptor, which somebody else has bound, and
// its address. fd is a listening stream socket of AF_VSOCK or AF_UNIX. Inherit takes fd
// over, even if it fails. The listener's Close leaves the socket, and a Unix socket's
// file, to other processes that have it. The policy applies as in [Listen].
func Inherit(fd int, p Policy) (net.Listener, Address, error) { return inherit(fd, p) }
