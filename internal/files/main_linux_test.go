package files_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// ownMounts is set in a test process that has a mount namespace of its own.
const ownMounts = "COCOON_FILES_TEST_MOUNTS"

// TestMain runs root's tests in a mount namespace of their own.
func TestMain(m *testing.M) {
	if os.Geteuid() != 0 || os.Getenv(ownMounts) != "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread() // Pdeathsig is about the thread
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), ownMounts+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Start()
	if errors.Is(err, syscall.EPERM) {
		os.Exit(m.Run())
	}
	if err == nil {
		err = cmd.Wait()
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// mount makes a small file system in memory.
func mount(t *testing.T, kind, options string) string {
	t.Helper()
	dir := mountPoint(t)
	if err := unix.Mount(kind, dir, kind, 0, options); err != nil {
		t.Skipf("mounting a %s: %v", kind, err)
	}
	return dir
}

// mountPoint is a directory that is unmounted at the end.
func mountPoint(t *testing.T) string {
	t.Helper()
	if os.Getenv(ownMounts) == "" {
		t.Skip("only root has a mount namespace of its own")
	}
	dir := t.TempDir()
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// ext4 makes a file system of 64 MiB on a loop device.
func ext4(t *testing.T) string {
	t.Helper()
	dir, image := mountPoint(t), t.TempDir()+"/image"
	write(t, image, nil)
	if err := os.Truncate(image, 64<<20); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"mkfs.ext4", "-q", "-b", "4096", "-I", "256", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%q: %v, %s", argv, err, out)
		}
	}
	return dir
}
