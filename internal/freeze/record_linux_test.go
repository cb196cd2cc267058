package freeze_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/freeze"
)

// hasOpen reports whether a process has a file open.
func hasOpen(pid int, path string) bool {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && to == path {
			return true
		}
	}
	return false
}

// A guard that ends removes the record. The next one may have opened that file already.
func TestRecordIsNotInARemovedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "frozen")
	before, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	if err := unix.Flock(int(before.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	g := begin(t, freeze.Request{Within: time.Minute, Record: path, Hooks: true})
	agenttest.Eventually(t, "the guard waits for the lock", func() bool { return hasOpen(g.PID(), path) })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_ = before.Close()
	if _, err := g.Freeze(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), `"hooks":true`) {
		t.Errorf("the record is %q, %v", text, err)
	}
	if r, err := freeze.Recover(path); !r.Guarded || err != nil {
		t.Errorf("Recover while the guard lives = %+v, %v", r, err)
	}
}

// The agent lives, and runs the hooks itself.
func TestGuardThatIsTerminatedSaysSo(t *testing.T) {
	record := filepath.Join(t.TempDir(), "frozen")
	g := begin(t, freeze.Request{Within: time.Minute, Record: record, Hooks: true})
	if _, err := g.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(g.PID(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wantEnd(t, g, freeze.GuardEnd)
	if r, err := freeze.Recover(record); r.Hooks || err != nil {
		t.Errorf("Recover = %+v, %v: the hooks would be run again", r, err)
	}
}
