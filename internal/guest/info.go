package guest

import "time"

// Info describes this machine and its state. A field that cannot be found out is empty
// or 0.
type Info struct {
	Hostname string
	OS       string // for people: PRETTY_NAME of os-release(5), else GOOS
	Kernel   string // release
	BootID   string

	Uptime          time.Duration // since boot, suspended time included
	CPUs            int           // online
	CPUTime         time.Duration // of all CPUs since boot, without what they idled or other VMs took
	MemoryTotal     uint64        // bytes
	MemoryAvailable uint64        // bytes, for new processes without swapping
	Load            [3]uint64     // averages over 1, 5 and 15 minutes, in hundredths

	Clock time.Time
}

// RSS returns how many bytes of memory this process has, or 0.
func RSS() uint64 { return rss() }

// Look finds it out. On Linux it takes some reads of /proc and never blocks.
func Look() Info { return look() }
