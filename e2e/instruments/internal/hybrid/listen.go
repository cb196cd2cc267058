//go:build linux

package hybrid

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// Listen listens on a Unix socket. It replaces a socket that nobody listens on.
func Listen(path string) (*net.UnixListener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		if c, err := net.Dial("unix", path); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("listen: %s is in use", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("listen: remove a stale socket: %w", err)
		}
	}
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}

// unixPath returns the path of the socket that the guest reaches at a port of CID 2.
func unixPath(uds string, port uint32) string { return fmt.Sprintf("%s_%d", uds, port) }

const (
	backlogPatience = time.Second
	backlogPoll     = 5 * time.Millisecond
)

// dialUnix connects to a Unix socket, and tries again while its backlog is full.
func dialUnix(path string) (*net.UnixConn, error) {
	poll := time.NewTicker(backlogPoll)
	defer poll.Stop()
	for deadline := time.Now().Add(backlogPatience); ; <-poll.C {
		c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		if !errors.Is(err, syscall.EAGAIN) || time.Now().After(deadline) {
			return c, err
		}
	}
}
