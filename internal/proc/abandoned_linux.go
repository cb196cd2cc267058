package proc

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc/clone"
)

// endAbandoned looks at each process by its pidfd, so that it kills no other one that has
// got the pid.
func endAbandoned(pids []int) {
	own, err := executableOf("self")
	if err != nil {
		return
	}
	for _, pid := range pids {
		pidfd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		if path, err := executableOf(strconv.Itoa(pid)); err == nil && path == own && !clone.HasExecuted(pid) {
			_ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
		}
		_ = unix.Close(pidfd)
	}
}

// executableOf returns the file of a process's program, which may have been replaced.
func executableOf(pid string) (string, error) {
	path, err := os.Readlink("/proc/" + pid + "/exe")
	return strings.TrimSuffix(path, " (deleted)"), err
}
