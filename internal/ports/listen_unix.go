//go:build !windows

package ports

import (
	"context"
	"net"
	"syscall"
)

// listenPrivate makes a socket with the mode 0600. It changes the process's umask
// meanwhile, so it is called before anything else makes files.
func listenPrivate(ctx context.Context, path string) (*net.UnixListener, error) {
	old := syscall.Umask(0o177)
	defer syscall.Umask(old)
	return listenSocket(ctx, path)
}
