// Package guest knows the machine that the agent runs in.
package guest

import (
	"os"
	"strings"
)

// BootID returns the random id that the kernel drew when it booted, or "" where
// it cannot be read. A clone of a snapshot has its original's.
// https://docs.kernel.org/admin-guide/sysctl/kernel.html#random
func BootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(id))
}
