package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// endUnborn ends the children of a dead agent in a cgroup of its own that have not
// become their commands: an execve may be held for as long as a file system does not
// answer. Such a child would run the command later, when nobody waits for it, and
// holds the agent's memory until then. Commands are left alone.
func endUnborn(path string, until time.Time) {
	text, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
	for _, field := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
			endIfUnborn(pid, until)
		}
	}
}

// endIfUnborn looks once more when it has a descriptor, which no other process can
// come to have.
func endIfUnborn(pid int, until time.Time) {
	if !unborn(pid) {
		return
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if unborn(pid) && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil {
		awaitEnd(fd, until)
	}
}

// unbornTime is how long an agent that starts waits for the end of all those children. Some
// may be beyond SIGKILL.
const unbornTime = 2 * time.Second

// awaitEnd waits for an end that is near, so that the cgroup can be removed.
func awaitEnd(pidfd int, until time.Time) {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		patience := max(time.Until(until), 0)
		if _, err := unix.Poll(fds, int(patience.Milliseconds())); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// unborn says whether a process is a child of an agent before its execve: it has
// been forked, has not called execve, and runs the agent's program, of this or
// another version. Nothing but an agent forks without execve and has that program.
func unborn(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && forkedOnly(stat) && program(pid) != "" && program(pid) == program(os.Getpid())
}

// forkedOnly looks at the process's flags, proc_pid_stat(5): PF_FORKNOEXEC of
// include/linux/sched.h.
func forkedOnly(stat []byte) bool {
	const forkNoExec = 0x40
	end := bytes.LastIndexByte(stat, ')') // of the program's name, which may have any byte in it
	fields := bytes.Fields(stat[end+1:])
	if len(fields) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(string(fields[6]), 10, 64)
	return err == nil && flags&forkNoExec != 0
}

// program returns the path of a process's program, whether or not another one has
// taken its place.
func program(pid int) string {
	path, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return strings.TrimSuffix(path, " (deleted)")
}
