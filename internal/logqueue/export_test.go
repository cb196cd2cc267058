//go:build linux

package logqueue

import "os"

// NewIndirect is New for a file that is treated as a regular one.
func NewIndirect(file *os.File) *Queue { return newQueue(file, nil, nil) }
