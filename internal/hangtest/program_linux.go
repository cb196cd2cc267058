package hangtest

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

type program struct{ path string }

func newProgram(tb testing.TB) *Program {
	tb.Helper()
	path := filepath.Join(openDir(tb), "held")
	text, err := os.ReadFile("/bin/true")
	if err == nil {
		err = os.WriteFile(path, text, 0o755)
	}
	if err != nil {
		tb.Fatal(err)
	}
	listener, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		tb.Skipf("fanotify_init: %v", err)
	}
	// What hangs is let go when the listener is closed.
	tb.Cleanup(func() { _ = unix.Close(listener) })
	if err := unix.FanotifyMark(listener, unix.FAN_MARK_ADD, unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, path); err != nil {
		tb.Skipf("fanotify_mark: %v", err)
	}
	return &Program{program{path}}
}

// openDir makes a directory that every user may enter, unlike tb.TempDir's.
func openDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "hang")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	return dir
}
