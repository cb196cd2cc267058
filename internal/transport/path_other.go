//go:build !windows

package transport

// socketPath returns the path that a target means.
func socketPath(path string) string { return path }
