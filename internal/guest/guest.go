// Package guest knows the machine that the agent runs in.
package guest

import "sync/atomic"

// BootID returns the random id that the kernel drew when it booted, or "" if it
// cannot be read. A clone of a snapshot has its original's.
// https://docs.kernel.org/admin-guide/sysctl/kernel.html#random
//
// Once read it is kept: it stays the same, and a host tells VMs by it.
func BootID() string {
	if id := bootID.Load(); id != nil {
		return *id
	}
	id := readBootID()
	if id != "" {
		bootID.Store(&id)
	}
	return id
}

var bootID atomic.Pointer[string]
