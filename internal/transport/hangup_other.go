//go:build !windows

package transport

import "syscall"

var hangUps = []error{syscall.EPIPE, syscall.ECONNRESET}
