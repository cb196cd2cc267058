package proc

import "time"

// An Exit is how a process ended.
type Exit struct {
	Code       int    // exit code; -1 if a signal ended it
	Status     uint32 // exit code of Windows; Code has the same bits as a signed number; 0 elsewhere
	Signal     int    // 0 if it exited
	SignalName string // without SIG
	CoreDumped bool
	OOMKilled  bool // Limits.Memory was used up, and the kernel has killed it

	UserTime, SystemTime time.Duration // with that of waited-for children
	MaxRSS               int64         // bytes
}
