//go:build linux

package logqueue

import (
	"os"
	"time"
)

// NewIndirect is New for a file that is treated as a regular one.
func NewIndirect(file *os.File) *Queue { return newQueue(file, nil, nil) }

// TickBetweenWrites calls tick while a Settle with that late is between two writes.
func (q *Queue) TickBetweenWrites(late func(error)) {
	q.mu.Lock()
	q.settling = &settling{time.Hour, late}
	q.mu.Unlock()
	q.tick()
	q.mu.Lock()
	q.settling = nil
	q.mu.Unlock()
}
