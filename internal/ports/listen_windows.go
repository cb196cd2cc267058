package ports

import (
	"context"
	"net"
)

// listenPrivate makes a socket with the access rights of its directory: Windows has no
// modes.
func listenPrivate(ctx context.Context, path string) (*net.UnixListener, error) {
	return listenSocket(ctx, path)
}
