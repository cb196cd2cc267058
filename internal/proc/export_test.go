//go:build linux

package proc

import "os"

// SetPidfd puts f in the place of p's pidfd. A kernel without has nil there.
func SetPidfd(p *Process, f *os.File) {
	_ = p.pidfd.Close()
	p.pidfd = f
}

// Foreground is the process group in the foreground of p's terminal.
func (p *Process) Foreground() int { return p.terminal.foreground() }
