package freeze_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/freeze"
)

const (
	guardWord = "freeze-guard"
	agentWord = "freeze-agent" // a program that has a guard, and does not end

	ownMounts = "FREEZE_TEST_MOUNTS" // is set in a mount namespace of the tests' own
)

// The tests mount file systems, and freeze them: in a mount namespace that ends with them.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) > 1 && os.Args[1] == guardWord:
		os.Exit(freeze.Serve(os.Stdin, os.Stdout))
	case len(os.Args) > 1 && os.Args[1] == agentWord:
		runAgent(os.Args[2])
	case os.Geteuid() == 0 && os.Getenv(ownMounts) == "":
		if path, err := exec.LookPath("unshare"); err == nil {
			_ = os.Setenv(ownMounts, "1")
			self, _ := os.Executable()
			_ = syscall.Exec(path, append([]string{path, "-m", "--", self}, os.Args[1:]...), os.Environ())
		}
	}
	os.Exit(m.Run())
}

// runAgent has a guard freeze what a request says, and waits to be killed.
func runAgent(request string) {
	var r freeze.Request
	if err := json.Unmarshal([]byte(request), &r); err != nil {
		panic(err)
	}
	g, err := freeze.Start([]string{"/proc/self/exe", guardWord}, r)
	if err == nil {
		_, err = g.Freeze()
	}
	fmt.Fprintln(os.Stdout, "frozen", err)
	select {}
}

// disk mounts a new file system until the end of the test.
func disk(t *testing.T) string {
	t.Helper()
	if os.Getenv(ownMounts) == "" {
		t.Skip("needs root, to mount a file system")
	}
	image, point := filepath.Join(t.TempDir(), "image"), filepath.Join(t.TempDir(), "disk")
	for _, args := range [][]string{
		{"truncate", "-s", "16M", image}, {"mkfs.ext4", "-q", image}, {"mkdir", point}, {"mount", "-o", "loop", image, point},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%v: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() {
		thaw(point) // a test that fails must not leave a writer that cannot be killed
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return point
}

func thaw(point string) bool {
	dir, err := os.Open(point)
	if err != nil {
		return false
	}
	defer dir.Close()
	return unix.IoctlSetInt(int(dir.Fd()), 0xc0045878, 0) == nil
}

// writes starts a write to a file system.
func writes(t *testing.T, point string) (ended <-chan error) {
	t.Helper()
	c := exec.Command("touch", filepath.Join(point, "file"))
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- c.Wait() }()
	return done
}

func begin(t *testing.T, r freeze.Request) *freeze.Guard {
	t.Helper()
	g, err := freeze.Start([]string{"/proc/self/exe", guardWord}, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Thaw(); <-g.Ended() })
	return g
}

// wantFrozen starts a write that must not end, and returns what has its end.
func wantFrozen(t *testing.T, point string) <-chan error {
	t.Helper()
	w := writes(t, point)
	select {
	case err := <-w:
		t.Errorf("a write to a frozen file system ends: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	return w
}

func wantEnd(t *testing.T, g *freeze.Guard, want freeze.End) {
	t.Helper()
	agenttest.Within(t, "the end", func() { <-g.Ended() })
	if why, err := g.Outcome(); why != want || err != nil {
		t.Errorf("ended by %q, %v; want %q", why, err, want)
	}
}

func TestGuardFreezesUntilItIsTold(t *testing.T) {
	outer, record := disk(t), filepath.Join(t.TempDir(), "run", "frozen")
	g := begin(t, freeze.Request{Within: time.Minute, Mounts: []string{outer}, Record: record})
	steps, err := g.Freeze()
	if said := fmt.Sprint(steps); err != nil || said != "[{sync true   false} {file_systems true   false}]" {
		t.Errorf("Freeze = %s, %v", said, err)
	}
	if _, err := os.Stat(record); err != nil {
		t.Error(err)
	}
	w := wantFrozen(t, outer)
	g.Thaw()
	wantEnd(t, g, freeze.Told)
	agenttest.Within(t, "the write's end", func() { <-w })
	if _, err := os.Stat(record); !os.IsNotExist(err) {
		t.Errorf("the record is there after the end: %v", err)
	}
}

func TestGuardThawsInTime(t *testing.T) {
	point := disk(t)
	g := begin(t, freeze.Request{Within: 300 * time.Millisecond, Mounts: []string{point}})
	if _, err := g.Freeze(); err != nil {
		t.Fatal(err)
	}
	w := writes(t, point)
	wantEnd(t, g, freeze.TimeOut)
	agenttest.Within(t, "the write's end", func() { <-w })
}

func TestGuardCanBeGivenMoreTime(t *testing.T) {
	point := disk(t)
	g := begin(t, freeze.Request{Within: 10 * time.Minute, Mounts: []string{point}})
	if _, err := g.Freeze(); err != nil {
		t.Fatal(err)
	}
	g.Extend(time.Millisecond) // less than it has
	wantFrozen(t, point)
	g.Thaw()
	wantEnd(t, g, freeze.Told)
	g = begin(t, freeze.Request{Within: time.Second, Mounts: []string{point}})
	if _, err := g.Freeze(); err != nil {
		t.Fatal(err)
	}
	g.Extend(10 * time.Minute)
	select {
	case <-g.Ended():
		t.Error("it ended at the first time")
	case <-time.After(1200 * time.Millisecond):
	}
}

func TestGuardThawsIfOneCannotBeFrozen(t *testing.T) {
	first, second := disk(t), disk(t)
	other := begin(t, freeze.Request{Within: time.Minute, Mounts: []string{second}})
	if _, err := other.Freeze(); err != nil {
		t.Fatal(err)
	}
	g := begin(t, freeze.Request{Within: time.Minute, Mounts: []string{first, second}})
	steps, err := g.Freeze()
	if err != nil || len(steps) != 2 || !strings.HasSuffix(steps[1].Failed, "frozen already, by another program") {
		t.Errorf("Freeze = %+v, %v", steps, err)
	}
	wantEnd(t, g, freeze.Failure)
	if thaw(first) {
		t.Error("the first file system was left frozen")
	}
	wantFrozen(t, second) // the other's
}

// The agent may be killed.
func TestGuardThawsWhenTheAgentEnds(t *testing.T) {
	point := disk(t)
	request, err := json.Marshal(freeze.Request{Within: time.Hour, Mounts: []string{point}})
	if err != nil {
		t.Fatal(err)
	}
	agent := exec.Command("/proc/self/exe", agentWord, string(request))
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "frozen <nil>\n" {
		t.Errorf("the agent says %q", line)
	}
	w := wantFrozen(t, point)
	_ = agent.Process.Kill()
	_ = agent.Wait()
	agenttest.Within(t, "the write's end", func() { <-w })
}

func TestRecordSaysWhatToThaw(t *testing.T) {
	point, record := disk(t), filepath.Join(t.TempDir(), "frozen")
	g := begin(t, freeze.Request{Within: time.Minute, Mounts: []string{point}, Record: record})
	if _, err := g.Freeze(); err != nil {
		t.Fatal(err)
	}
	if r, err := freeze.Recover(record); r.Thawed != nil || !r.Guarded || err != nil {
		t.Errorf("Recover while the guard lives = %+v, %v", r, err)
	}
	other := begin(t, freeze.Request{Within: time.Minute, Record: record, Mounts: []string{disk(t)}})
	if steps, err := other.Freeze(); err != nil || len(steps) != 1 || steps[0].Failed != "another agent has the guest quiesced" {
		t.Errorf("Freeze beside another one = %+v, %v", steps, err)
	}
	// As if the guard had been killed, and nobody had seen that.
	text, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	record += "2"
	if err := os.WriteFile(record, text, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := freeze.Recover(record)
	if fmt.Sprint(r.Thawed) != "["+point+"]" || err != nil {
		t.Errorf("Recover = %+v, %v", r, err)
	}
	if r, err = freeze.Recover(record); r.Thawed != nil || err != nil {
		t.Errorf("the second Recover = %+v, %v", r, err)
	}
}

func TestGuardThatIsKilledLeavesNothingFrozen(t *testing.T) {
	point, record := disk(t), filepath.Join(t.TempDir(), "frozen")
	g := begin(t, freeze.Request{Within: time.Minute, Mounts: []string{point}, Record: record})
	if _, err := g.Freeze(); err != nil {
		t.Fatal(err)
	}
	w := wantFrozen(t, point)
	if err := syscall.Kill(g.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	agenttest.Within(t, "the write's end", func() { <-w; <-g.Ended() })
	if why, err := g.Outcome(); why != freeze.GuardEnd || err == nil {
		t.Errorf("ended by %q, %v", why, err)
	}
}

// An agent that ends while the guard reports to it does not end the guard.
func TestGuardSurvivesAnAgentThatDoesNotRead(t *testing.T) {
	point, record := disk(t), filepath.Join(t.TempDir(), "frozen")
	agent := exec.Command("sleep", "1000")
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(agent.Process.Pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	defer pidfd.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	guard := exec.Command("/proc/self/exe", guardWord)
	guard.ExtraFiles, guard.Stdout = []*os.File{pidfd}, w
	orders, err := guard.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := guard.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	request, _ := json.Marshal(map[string]any{"request": freeze.Request{Within: time.Minute, Mounts: []string{point}, Record: record, Hooks: true}})
	if _, err := orders.Write(append(request, '\n')); err != nil {
		t.Fatal(err)
	}
	agenttest.Eventually(t, "the freeze", func() bool {
		frozen, _ := os.ReadFile(record)
		return len(frozen) > 0
	})
	_ = agent.Process.Kill()
	_ = agent.Wait()
	agenttest.Within(t, "the guard's end", func() { _ = guard.Wait() })
	if !guard.ProcessState.Success() || thaw(point) {
		t.Errorf("the guard ended with %v, and left the file system frozen", guard.ProcessState)
	}
	found, err := freeze.Recover(record)
	if err != nil || !found.Hooks || found.Thawed != nil {
		t.Errorf("Recover = %+v, %v, want hooks alone", found, err)
	}
}

// The mount point that the guard has frozen may be covered when the guard is killed.
func TestRecoverFindsAnotherMount(t *testing.T) {
	point, other, record := disk(t), t.TempDir(), filepath.Join(t.TempDir(), "frozen")
	g := begin(t, freeze.Request{Within: time.Minute, Mounts: []string{point}, Record: record})
	if _, err := g.Freeze(); err != nil {
		t.Fatal(err)
	}
	uncover := cover(t, "tmpfs", point, 0)
	if err := syscall.Kill(g.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	agenttest.Within(t, "the guard's end", func() { <-g.Ended() })
	if _, err := g.Outcome(); err == nil || !strings.Contains(err.Error(), "no path leads to it") {
		t.Errorf("Outcome = %v", err)
	}
	uncover()
	cover(t, point, other, unix.MS_BIND)
	cover(t, "tmpfs", point, 0)
	if found, err := freeze.Recover(record); err != nil || len(found.Thawed) != 1 {
		t.Errorf("Recover = %+v, %v, want the file system thawed by its other mount", found, err)
	}
}

// cover mounts something over a directory until the end of the test.
func cover(t *testing.T, what, point string, flags uintptr) (uncover func()) {
	t.Helper()
	if err := unix.Mount(what, point, "tmpfs", flags, ""); err != nil {
		t.Fatal(err)
	}
	uncover = sync.OnceFunc(func() { _ = unix.Unmount(point, unix.MNT_DETACH) })
	t.Cleanup(uncover)
	return uncover
}
