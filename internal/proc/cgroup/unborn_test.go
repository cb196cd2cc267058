//go:build linux

package cgroup_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// starts names the program that a process of this test starts in an agent's place.
const starts = "CGROUP_TEST_STARTS"

func TestStartsAProgram(t *testing.T) {
	program := os.Getenv(starts)
	if program == "" {
		t.Skip("is run by TestChildBeforeItsExecveEndsWithItsAgent")
	}
	_, err := syscall.ForkExec(program, []string{program}, nil)
	t.Fatal("its execve was not held: ", err)
}

// An execve may be held for ever. The agent that waited for it was killed.
func TestChildBeforeItsExecveEndsWithItsAgent(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	text, err := os.ReadFile("/bin/true")
	if err == nil {
		err = os.WriteFile(program, text, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	held := holdExecve(t, program)
	agent := exec.Command(os.Args[0], "-test.run=^TestStartsAProgram$")
	agent.Env = append(os.Environ(), starts+"="+program)
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	child := held()
	_ = agent.Process.Kill()
	_ = agent.Wait()

	left := directoryOf(t, 1<<22+4, false)
	if err := os.WriteFile(filepath.Join(left, "exec-1", "cgroup.procs"), fmt.Append(nil, child), 0); err != nil {
		t.Fatal(err)
	}
	openPool(t)
	if runs(child) {
		t.Error("it still waits to become its command")
	}
	if there(left) {
		t.Errorf("%s is still there", left)
	}
}

var zombie = regexp.MustCompile(`(?m)^State:\s+[ZX]`)

// runs says whether a process is there, and not a zombie.
func runs(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && !zombie.Match(text)
}

// holdExecve holds every execve of program until the end of the test. It returns a
// function that waits for one and returns the pid.
func holdExecve(t *testing.T, program string) func() int {
	t.Helper()
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC, unix.O_RDONLY|unix.O_CLOEXEC)
	if err == nil {
		err = unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, program)
	}
	if err != nil {
		t.Skip("no fanotify permission events: ", err)
	}
	events := os.NewFile(uintptr(fd), "fanotify")
	t.Cleanup(func() { _ = events.Close() })
	return func() int {
		var event [256]byte
		if _, err := io.ReadAtLeast(events, event[:], 24); err != nil { // struct fanotify_event_metadata
			t.Fatal(err)
		}
		return int(binary.NativeEndian.Uint32(event[20:]))
	}
}
