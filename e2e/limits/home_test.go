//go:build e2e && linux

package limits_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/client"
)

// service makes the cgroup of a service, as a manager does that hands controllers
// on to it, with a cgroup "agent" in it.
func service(t *testing.T, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "service")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "agent"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // the agent has been waited for
		_ = os.Remove(filepath.Join(dir, "agent"))
		if err := os.Remove(dir); err != nil {
			t.Errorf("something is left in it: %v", err)
		}
	})
	return dir
}

func handOn(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory +pids +cpu"), 0); err != nil {
		t.Fatal(err)
	}
}

// delegate marks a cgroup as systemd does.
func delegate(t *testing.T, dir, xattr string) {
	t.Helper()
	if err := unix.Setxattr(dir, xattr, []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
}

var every = client.Limits{Memory: 32 << 20, PIDs: 10, CPU: 1}

func TestBelowADelegatedCgroupLimitsWork(t *testing.T) {
	handOn(t, root)
	for _, xattr := range []string{"trusted.delegate", "user.delegate"} {
		t.Run(xattr, func(t *testing.T) {
			dir := service(t, root)
			delegate(t, dir, xattr)
			a := serve(t, dir, "agent")
			wantOOMKilled(t, a.command(t, every, hog(t)...).Run())

			name := strings.TrimPrefix(dir, root)
			want := fmt.Sprintf("0::%s/cocoon-agent.%d-limits/exec-2\n", name, a.Process.Pid)
			if got := a.output(t, every, "cat", "/proc/self/cgroup"); got != want {
				t.Errorf("with limits: %q, want %q", got, want)
			}
			want = fmt.Sprintf("0::%s/cocoon-agent.%d/exec-", name, a.Process.Pid)
			if got := a.output(t, client.Limits{}, "cat", "/proc/self/cgroup"); !strings.HasPrefix(got, want) {
				t.Errorf("without: %q, want %q", got, want)
			}
			stop(t, a)
		})
	}
}

func TestElsewhereALimitIsRefusedAndTheReasonTold(t *testing.T) {
	handOn(t, root)
	for _, test := range []struct {
		name, sub, reason string
		prepare           func(t *testing.T, dir string)
	}{
		{"in a cgroup like any other", "agent", "which is not delegated", func(*testing.T, string) {}},
		{"in the delegated cgroup itself", "", "DelegateSubgroup=agent", func(t *testing.T, dir string) {
			delegate(t, dir, "trusted.delegate")
		}},
		{"below a delegated one with processes", "agent", "has processes of its own", func(t *testing.T, dir string) {
			delegate(t, dir, "trusted.delegate")
			sleeper(t, dir)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := service(t, root)
			test.prepare(t, dir)
			a := serve(t, dir, test.sub)
			a.wantRefusals(t, test.reason)
			stop(t, a)
		})
	}
}

func TestLimitWithoutItsControllerIsRefused(t *testing.T) {
	dir := service(t, filepath.Join(service(t, root), "agent"))
	delegate(t, dir, "trusted.delegate")
	a := serve(t, dir, "agent")
	for l, controller := range map[client.Limits]string{{Memory: 1 << 30}: "memory", {PIDs: 10}: "pids", {CPU: 1}: "cpu"} {
		wantUnsupported(t, a.command(t, l, "true").Run(), "has no "+controller+" controller")
	}
	stop(t, a)
}

// wantRefusals tries each limit. Without one, a command runs as ever.
func (a *agent) wantRefusals(t *testing.T, reason string) {
	t.Helper()
	for _, l := range []client.Limits{{Memory: 1 << 30}, {PIDs: 10}, {CPU: 1}, every} {
		wantUnsupported(t, a.command(t, l, "true").Run(), reason)
	}
	a.Flags = []string{"--pids", "10"}
	got := a.Agent.Client(t, nil, "true")
	if got.Status != 255 || strings.Count(got.Stderr, "\n") != 1 || !strings.Contains(got.Stderr, reason) {
		t.Errorf("client --pids 10: %+v, want status 255 and %q", got, reason)
	}
	if got := a.output(t, client.Limits{}, "echo", "runs"); got != "runs\n" {
		t.Errorf("without limits: %q", got)
	}
	wantGone(t, a.directory())
}

// sleeper is a process in a cgroup.
func sleeper(t *testing.T, dir string) {
	t.Helper()
	cgroup, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer cgroup.Close()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

// stop ends the agent as an operator does: it removes its cgroups.
func stop(t *testing.T, a *agent) {
	t.Helper()
	if err := a.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = a.Wait()
	left, _ := filepath.Glob(filepath.Join(a.home, fmt.Sprintf("cocoon-agent.%d*", a.Process.Pid)))
	if len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
