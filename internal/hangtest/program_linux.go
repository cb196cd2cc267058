package hangtest

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

type program struct {
	path     string
	listener int
}

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
	// Closing the listener lets all go that hangs.
	tb.Cleanup(func() { _ = unix.Close(listener) })
	if err := unix.FanotifyMark(listener, unix.FAN_MARK_ADD, unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, path); err != nil {
		tb.Skipf("fanotify_mark: %v", err)
	}
	return &Program{program{path, listener}}
}

// patience is how long a test waits for what must happen, on a machine that may be busy.
const patience = 60 * time.Second

// await reads an event and does not answer it. All are of one size, since they carry no
// information records.
func (p *program) await(tb testing.TB) (pid int) {
	tb.Helper()
	ready := []unix.PollFd{{Fd: int32(p.listener), Events: unix.POLLIN}}
	for deadline := time.Now().Add(patience); ; {
		n, err := unix.Poll(ready, int(time.Until(deadline).Milliseconds()))
		if n == 1 {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			tb.Fatalf("no process hangs in %s: %v", p.path, err)
		}
	}
	var event unix.FanotifyEventMetadata
	text := unsafe.Slice((*byte)(unsafe.Pointer(&event)), unsafe.Sizeof(event))
	if n, err := unix.Read(p.listener, text); n != len(text) {
		tb.Fatalf("read an event: %d bytes, %v", n, err)
	}
	_ = unix.Close(int(event.Fd))
	return int(event.Pid)
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
