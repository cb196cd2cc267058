// Package guest knows the machine that the agent runs in.
package guest

import (
	"os"
	"strings"
	"sync/atomic"
)

// BootID returns the random id that the kernel drew when it booted, or "" where
// it cannot be read. A clone of a snapshot has its original's.
// https://docs.kernel.org/admin-guide/sysctl/kernel.html#random
//
// Once read it is kept: it stays the same, and a host tells VMs by it.
func BootID() string {
	if id := bootID.Load(); id != nil {
		return *id
	}
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	id := strings.TrimSpace(string(text))
	bootID.Store(&id)
	return id
}

var bootID atomic.Pointer[string]
