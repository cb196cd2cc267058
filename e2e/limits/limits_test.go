//go:build e2e && linux

// Package limits_test tests what bounds an exec, in a User-Mode-Linux guest
// whose cgroup v2 has the controllers. Agent and client are processes.
package limits_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

func TestMain(m *testing.M) {
	if os.Getenv(asHog) != "" {
		eat()
		return
	}
	os.Exit(checks.GuestMain(m))
}

// root is where the guest's init has mounted cgroup v2.
const root = "/sys/fs/cgroup"

// An agent is one that runs, and where its cgroups are.
type agent struct {
	checks.Agent
	*checks.Served
	*client.Client
	home string
}

// serve starts an agent in the cgroup home/sub.
func serve(t *testing.T, home, sub string) *agent {
	t.Helper()
	cgroup, err := os.Open(filepath.Join(home, sub))
	if err != nil {
		t.Fatal(err)
	}
	defer cgroup.Close()
	target := "unix://" + filepath.Join(t.TempDir(), "s")
	a := &agent{home: home, Agent: checks.Agent{Program: checks.Program(t), Target: target}}
	a.Served = checks.ServeIn(t, cgroup, "--listen", target)
	a.Client = a.Dial(t)
	return a
}

func (a *agent) directory() string {
	return filepath.Join(a.home, fmt.Sprintf("cocoon-agent.%d-limits", a.Process.Pid))
}

// cgroups lists those of execs with limits.
func (a *agent) cgroups(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(a.directory(), "exec-*"))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// wantNoCgroups waits until what execs with limits have had is removed.
func (a *agent) wantNoCgroups(t *testing.T) {
	t.Helper()
	checks.Eventually(t, "the cgroups of execs are removed", func() bool { return len(a.cgroups(t)) == 0 })
}

// command is one that does not outlast the test's patience.
func (a *agent) command(t *testing.T, l client.Limits, argv ...string) *client.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), checks.Patience)
	t.Cleanup(cancel)
	cmd := a.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Limits = l
	return cmd
}

func (a *agent) output(t *testing.T, l client.Limits, argv ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := a.command(t, l, argv...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v; stderr: %s", argv, err, &stderr)
	}
	return string(out)
}

// bystander is an exec that a test's other exec must not harm. It is asked for
// an echo at once, and once more by the function that it returns.
func (a *agent) bystander(t *testing.T) (check func()) {
	t.Helper()
	cmd := a.command(t, client.Limits{}, "sh", "-c", "while read -r line; do (echo $line); done")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ask := func() {
		t.Helper()
		_, _ = stdin.Write([]byte("here\n"))
		var answer [5]byte
		if _, err := io.ReadFull(stdout, answer[:]); err != nil || string(answer[:]) != "here\n" {
			t.Errorf("the bystander says %q, %v", answer, err)
		}
	}
	ask()
	return func() {
		t.Helper()
		ask()
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the bystander: %v", err)
		}
	}
}

// asHog makes the test binary a program that wants 256 MiB.
const asHog = "LIMITS_TEST_HOG"

func eat() {
	const size, page = 256 << 20, 4 << 10
	for all := make([]byte, size); len(all) > 0; all = all[page:] {
		all[0] = 1
	}
}

// hog is a shell whose child wants 256 MiB. The child's program is in a tmpfs, and is
// static. The kernel may drop a program from a disk from memory and read it again page
// by page, for minutes, before it finds that there is no memory left.
func hog(t *testing.T) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "hog")
	if err := os.WriteFile(path, text, 0o700); err != nil {
		t.Fatal(err)
	}
	return []string{"sh", "-c", asHog + "=1 " + path + "; exit 0"}
}

func wantOOMKilled(t *testing.T, err error) {
	t.Helper()
	exit, ok := errors.AsType[*client.ExitError](err)
	if !ok || !exit.OOMKilled() || exit.ExitStatus() != 137 || exit.Reason() != "signal" || exit.Error() != "signal KILL (out of memory)" {
		t.Errorf("got %v (%T), want a death by SIGKILL for want of memory", err, err)
	}
}

func wantUnsupported(t *testing.T, err error, text string) {
	t.Helper()
	refused, ok := errors.AsType[*client.RemoteError](err)
	if !ok || refused.Kind != client.Unsupported || !strings.Contains(refused.Message, text) {
		t.Errorf("got %v (%T), want it unsupported: %s", err, err, text)
	}
}

func TestMemoryLimitKillsOnlyItsCommand(t *testing.T) {
	a := serve(t, root, "")
	check := a.bystander(t)
	wantOOMKilled(t, a.command(t, client.Limits{Memory: 32 << 20}, hog(t)...).Run())
	a.wantNoCgroups(t)

	a.Flags = []string{"--memory", "32M"}
	want := checks.Result{Status: 137, Stderr: "cocoon-agent: command killed: memory limit exceeded (out of memory)\n"}
	if got := a.Agent.Client(t, nil, hog(t)...); got != want {
		t.Errorf("client --memory 32M: %+v, want %+v", got, want)
	}
	check()
	if !strings.Contains(a.Log.String(), `"oom_killed":true`) {
		t.Error("the log does not say so")
	}
}

func TestCommandWithinItsLimitsIsAsWithout(t *testing.T) {
	a := serve(t, root, "")
	const script = "head -c 8M /dev/zero | tail -n 1 | wc -c; cat; exit 3"
	a.Flags = []string{"--memory", "64MiB", "--pids", "10", "--cpu", "2"}
	if got := a.Agent.Client(t, strings.NewReader("in"), "sh", "-c", script); got != (checks.Result{Status: 3, Stdout: "8388608\nin"}) {
		t.Errorf("client within its limits: %+v, want status 3 and all output", got)
	}
	a.wantNoCgroups(t)
}

func TestOtherSIGKILLIsNotOOMKilled(t *testing.T) {
	a := serve(t, root, "")
	err := a.command(t, client.Limits{Memory: 64 << 20}, "sh", "-c", "kill -KILL $$").Run()
	if exit, ok := errors.AsType[*client.ExitError](err); !ok || exit.OOMKilled() || exit.ExitStatus() != 137 {
		t.Errorf("got %v", err)
	}
}

// The agent's protection from the OOM killer, by its unit or by itself, is inherited
// by its children and undone in time.
func TestProtectedAgentsCommandIsOOMKilled(t *testing.T) {
	const file = "/proc/self/oom_score_adj"
	for _, started := range []string{"-1000", "0"} {
		t.Run("started="+started, func(t *testing.T) {
			write(t, file, started)
			a := serve(t, root, "")
			write(t, file, "0")
			checks.Eventually(t, "the agent has protected itself", func() bool {
				own, _ := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", a.Process.Pid))
				return string(own) == "-1000\n"
			})
			hog := hog(t)
			for range 5 {
				wantOOMKilled(t, a.command(t, client.Limits{Memory: 32 << 20}, hog...).Run())
			}
			a.wantNoCgroups(t)
		})
	}
}

func TestForkBombWithAPIDsLimitHarmsNobodyElse(t *testing.T) {
	a := serve(t, root, "")
	check := a.bystander(t)
	bomb := a.command(t, client.Limits{PIDs: 50}, "sh", "-c", "bomb() { bomb | bomb & }; bomb; exec sleep 1000")
	if err := bomb.Start(); err != nil {
		t.Fatal(err)
	}
	cgroup := a.cgroups(t)[0]
	checks.Eventually(t, "the bomb has been refused a fork", func() bool { return number(t, cgroup, "pids.events", "max") > 0 })
	for range 3 {
		if got := a.output(t, client.Limits{}, "sh", "-c", "(echo a); (echo b)"); got != "a\nb\n" {
			t.Errorf("another exec: %q", got)
		}
	}
	check()
	peak, err := os.ReadFile(filepath.Join(cgroup, "pids.peak"))
	if n, _ := strconv.Atoi(strings.TrimSpace(string(peak))); err != nil || n != 50 {
		t.Errorf("there were %d processes at a time (%v), want 50", n, err)
	}
	if err := bomb.Kill(); err != nil {
		t.Fatal(err)
	}
	if exit, ok := errors.AsType[*client.ExitError](bomb.Wait()); !ok || exit.OOMKilled() {
		t.Errorf("the bomb: %v", exit)
	}
	a.wantNoCgroups(t)
}

func TestPIDsLimit1SufficesWithoutForks(t *testing.T) {
	a := serve(t, root, "")
	one := client.Limits{PIDs: 1}
	if got := a.output(t, one, "echo", "alone"); got != "alone\n" {
		t.Errorf("echo with a limit of 1 process prints %q, want %q", got, "alone\n")
	}
	if err := a.command(t, one, "sh", "-c", "(echo child); exit 0").Run(); err == nil {
		t.Error("a second process was there")
	}
}

func TestCommandBeyondItsCPULimitIsThrottled(t *testing.T) {
	a := serve(t, root, "")
	// It is held up by its limit in the end, however slow the guest.
	const script = `
cgroup=` + root + `$(cut -d: -f3 /proc/self/cgroup)
until grep -q 'nr_throttled [1-9]' "$cgroup/cpu.stat"; do :; done
cat "$cgroup/cpu.max"`
	if got := a.output(t, client.Limits{CPU: 0.05}, "sh", "-c", script); got != "5000 100000\n" {
		t.Errorf("cpu.max is %q", got)
	}
	a.wantNoCgroups(t)
}

func TestDaemonKeepsItsLimitsUntilItEnds(t *testing.T) {
	a := serve(t, root, "")
	out := a.output(t, client.Limits{PIDs: 7}, "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!")
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	membership, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil || len(a.cgroups(t)) != 1 || root+strings.TrimSpace(string(membership[3:])) != a.cgroups(t)[0] {
		t.Fatalf("it is in %s (%v), and there are %v", membership, err, a.cgroups(t))
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	checks.Eventually(t, "another exec finds the cgroup empty", func() bool {
		a.output(t, client.Limits{}, "true")
		return len(a.cgroups(t)) == 0
	})
	if err := a.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = a.Wait()
	wantGone(t, a.directory())
}

func TestNextAgentRemovesADeadAgentsCgroups(t *testing.T) {
	killed, lives := serve(t, root, ""), serve(t, root, "")
	cmd := killed.command(t, client.Limits{PIDs: 7}, "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lives.output(t, client.Limits{PIDs: 7}, "true")
	_ = killed.Process.Kill()
	_ = killed.Wait()
	_ = cmd.Wait()
	if err := os.WriteFile(killed.cgroups(t)[0]+"/cgroup.kill", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	checks.Eventually(t, "the command is dead", func() bool { return number(t, killed.cgroups(t)[0], "cgroup.events", "populated") == 0 })
	serve(t, root, "")
	wantGone(t, killed.directory())
	if _, err := os.Stat(lives.directory()); err != nil {
		t.Errorf("that of an agent that lives: %v", err)
	}
}

func wantGone(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there: %v", dir, err)
	}
}

// number returns one from a file with a name and a number in each line.
func number(t *testing.T, cgroup, file, name string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(cgroup, file))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			n, _ := strconv.Atoi(rest)
			return n
		}
	}
	t.Fatalf("no %s in %s", name, file)
	return 0
}
