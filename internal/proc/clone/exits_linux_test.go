package clone

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// unpolled returns a pidfd that the runtime's poller does not take, as a kernel's may be: os
// does not offer a file without O_NONBLOCK to it.
func unpolled(t *testing.T, pid int) *os.File {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Skip(err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	t.Cleanup(func() { _ = f.Close() })
	if f.SetReadDeadline(time.Time{}) == nil {
		t.Fatal("it is polled")
	}
	return f
}

func polled(t *testing.T, pid int) *os.File {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Skip(err)
	}
	f := newPidFD(fd)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestExits(t *testing.T) {
	for name, open := range map[string]func(*testing.T, int) *os.File{"polled": polled, "not polled": unpolled} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("cat")
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			f := open(t, cmd.Process.Pid)
			if exits(f, 20*time.Millisecond) {
				t.Error("it has exited, want that it runs")
			}
			_ = in.Close()
			if !exits(f, time.Minute) {
				t.Error("it runs, want that it has exited")
			}
			_ = f.Close()
			if exits(f, time.Minute) {
				t.Error("a closed one has exited")
			}
			_ = cmd.Wait()
		})
	}
}

// A start whose pidfd is not polled is looked at by the goroutine for those that hang.
func TestStartWithoutThePoller(t *testing.T) {
	e := Open(Config{
		Fork: func(f func() (int, error)) (int, error) { return f() },
		Reap: func(pid int) bool {
			got, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
			return got != 0 || err != nil
		},
	})
	defer e.Close()
	if e.way == Fork {
		t.Skip("no clone3 with pidfd here")
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for path, found := range map[string]bool{"/bin/true": true, "/none": false} {
		s, err := e.begin(&Request{
			Paths: []string{path}, Argv: []string{"x"}, Dir: "/", Files: [3]uintptr{null.Fd(), null.Fd(), null.Fd()},
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = s.pidfd.Close()
		s.pidfd = unpolled(t, s.pid)
		if s.watch() {
			t.Error("it was watched without the poller")
		}
		if err := e.held.wait(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		child, err := e.finish(s)
		if (err == nil) != found {
			t.Errorf("finish(%s) = %v, want success: %v", path, err, found)
		}
		if err == nil {
			_, _ = unix.Wait4(child.PID, nil, 0, nil)
			_ = child.PidFD.Close()
		}
	}
}

// A thread that the runtime's monitor has made has the monitor's timer slack.
func TestChildHasTheTimerSlackOfTheProgram(t *testing.T) {
	e := Open(Config{
		Fork: func(f func() (int, error)) (int, error) { return f() },
		Reap: func(int) bool { return true },
	})
	defer e.Close()
	e.thread.slack = 123_456
	ways := []Way{e.way}
	if e.way != Fork {
		ways = append(ways, Fork)
	}
	for _, e.way = range ways {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		child, err := e.Start(t.Context(), &Request{
			Paths: []string{"/bin/cat"}, Argv: []string{"cat", "/proc/self/timerslack_ns"}, Dir: "/",
			Files: [3]uintptr{r.Fd(), w.Fd(), w.Fd()},
		})
		_ = w.Close()
		if err != nil {
			t.Fatal(err)
		}
		text := make([]byte, 32)
		n, _ := r.Read(text)
		if got := string(text[:n]); got != "123456\n" {
			t.Errorf("%v: a timer slack of %q, want 123456", e.way, got)
		}
		_, _ = unix.Wait4(child.PID, nil, 0, nil)
		_, _ = r.Close(), child.PidFD.Close()
	}
}
