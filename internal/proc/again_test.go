//go:build linux

package proc_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// againVariable says that this process runs tests on behalf of another's test.
const againVariable = "PROC_TEST_AGAIN"

// again runs tests in a process of their own, which prepare makes unlike this one. It
// skips if it is in such a process.
func again(t *testing.T, tests string, prepare func(*exec.Cmd)) {
	t.Helper()
	if os.Getenv(againVariable) != "" {
		t.Skip("already in a process of its own")
	}
	clean(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
	defer cancel()
	// Its path may lead through directories that are closed to another user.
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.v", "-test.run="+tests)
	cmd.Env = append(os.Environ(), againVariable+"="+t.Name(), "GORACE=atexit_sleep_ms=0")
	prepare(cmd)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// inOwnProcess says whether the test may go on: in a process of its own, which
// it may spoil. Elsewhere it runs the test there.
func inOwnProcess(t *testing.T, prepare func(*exec.Cmd)) bool {
	t.Helper()
	if os.Getenv(againVariable) == t.Name() {
		return true
	}
	again(t, "^"+t.Name()+"$", prepare)
	return false
}

func asItIs(*exec.Cmd) {}

// wrap makes a shell do something before it becomes the command.
func wrap(cmd *exec.Cmd, script string) {
	self, _ := os.Executable() // /proc/self/exe is the shell
	cmd.Args = append([]string{"/bin/sh", "-c", script + ` && exec "$0" "$@"`, self}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
}

// withOwnMounts is a prepare for tests that mount.
func withOwnMounts(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
}

// bind puts text in the place of the file at path.
func bind(t *testing.T, path, text string) {
	t.Helper()
	if err := unix.Mount(file(t, filepath.Base(path), text, 0o644), path, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("mount over %s: %v", path, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
}
