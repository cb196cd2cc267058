package systemd

import (
	"os"
	"strconv"
)

// isOpen says whether this process has a file of that number.
func isOpen(fd int) bool {
	_, err := os.Stat("/proc/self/fd/" + strconv.Itoa(fd))
	return err == nil
}
