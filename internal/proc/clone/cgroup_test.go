//go:build linux

package clone_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc/clone"
)

// newCgroup makes a cgroup below that of this program.
func newCgroup(tb testing.TB) *os.File {
	tb.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		if !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		path, err := os.MkdirTemp(strings.Fields(before)[4], "clone-test")
		if err != nil {
			tb.Skipf("no cgroup of our own: %v", err)
		}
		dir, err := os.Open(path)
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() {
			_ = dir.Close()
			if err := os.Remove(path); err != nil {
				tb.Error(err)
			}
		})
		return dir
	}
	tb.Skip("no cgroup v2 is mounted")
	return nil
}

func write(tb testing.TB, dir *os.File, file, text string) {
	tb.Helper()
	if err := os.WriteFile(filepath.Join(dir.Name(), file), []byte(text), 0); err != nil {
		tb.Fatal(err)
	}
}

// isEmpty waits until the cgroup has no process.
func isEmpty(tb testing.TB, dir *os.File) {
	tb.Helper()
	for deadline := time.Now().Add(time.Minute); ; <-time.After(time.Millisecond) {
		text, err := os.ReadFile(filepath.Join(dir.Name(), "cgroup.events"))
		if err == nil && strings.Contains(string(text), "populated 0") {
			return
		}
		if time.Now().After(deadline) {
			tb.Fatalf("%s: %s, %v", dir.Name(), text, err)
		}
	}
}

func TestStartInAFrozenCgroupEndsWithItsContext(t *testing.T) {
	for _, way := range []clone.Way{clone.Table, clone.Copied} {
		t.Run("way="+way.String(), func(t *testing.T) {
			e, dir := newEngine(t, way), newCgroup(t)
			write(t, dir, "cgroup.freeze", "1")
			fd := int(dir.Fd())
			r := newRequest(t, []string{"/bin/true"}, "true")
			r.Cgroup = &fd
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err := e.Start(ctx, &r.Request)
			if hung, ok := errors.AsType[*clone.HungError](err); !ok || hung.PID != 0 || !strings.Contains(err.Error(), "before its first step") {
				t.Errorf("Start = %v", err)
			}
			isEmpty(t, dir)
			if text, status, err := newRequest(t, []string{"/bin/echo"}, "echo", "on").output(e); text != "on\n" || status != 0 || err != nil {
				t.Errorf("the next one: %q, %d, %v", text, status, err)
			}
		})
	}
}

// Linux 6.1 to 6.18 and later kill whatever is started in a cgroup that was killed.
func TestStartInACgroupThatKills(t *testing.T) {
	e, dir := newEngine(t, 0), newCgroup(t)
	if way, _ := e.Way(); way == clone.Fork {
		t.Skip("syscall.ForkExec does not tell")
	}
	write(t, dir, "cgroup.kill", "1")
	fd := int(dir.Fd())
	r := newRequest(t, []string{"/bin/true"}, "true")
	r.Cgroup = &fd
	child, err := e.Start(t.Context(), &r.Request)
	if err == nil { // a kernel that has been mended
		_, _ = unix.Wait4(child.PID, nil, 0, nil)
		_ = child.PidFD.Close()
	} else if !errors.Is(err, clone.ErrKilled) {
		t.Errorf("Start = %v, want %v", err, clone.ErrKilled)
	}
	isEmpty(t, dir)
}

// The cgroup of this program was killed once: Linux kills what it starts in another one.
func TestStartMovesChildrenOutOfAKilledCgroup(t *testing.T) {
	own := newCgroup(t)
	write(t, own, "cgroup.kill", "1")
	const variable = "CLONE_TEST_KILLED"
	if os.Getenv(variable) == "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		move := exec.Command("/bin/sh", "-c", `echo $$ >"$0"/cgroup.procs && exec "$@"`, own.Name(), self, "-test.run=^"+t.Name()+"$", "-test.v")
		move.Env = append(os.Environ(), variable+"=1")
		if out, err := move.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	e, dir := newEngine(t, 0), newCgroup(t)
	fd := int(dir.Fd())
	script := []string{"sh", "-c", "cat /proc/self/cgroup"}
	first := newRequest(t, []string{"/bin/sh"}, script...)
	first.Cgroup = &fd
	_, _, err := first.output(e)
	t.Logf("started there: %v", err)
	if err != nil && !errors.Is(err, clone.ErrStillborn) {
		t.Errorf("Start = %v, want %v", err, clone.ErrStillborn)
	}
	if !e.MoveIn() || e.MoveIn() {
		t.Error("MoveIn is not true once")
	}
	second := newRequest(t, []string{"/bin/sh"}, script...)
	second.Cgroup = &fd
	text, status, err := second.output(e)
	if !strings.Contains(text, filepath.Base(dir.Name())) || status != 0 || err != nil {
		t.Errorf("moved there: %q, %d, %v", text, status, err)
	}
	isEmpty(t, dir)
}
