//go:build linux

package kubelet_test

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"github.com/cocoonstack/cocoon-agent/client"
)

// patience is how long a test waits for what should happen at once, on a machine
// that may be busy.
const patience = 2 * time.Minute

// program is the agent's, and shared a running one's target, for all tests that
// do not kill it.
var program, shared string

func TestMain(m *testing.M) {
	if os.Getenv(asCaller) != "" {
		os.Exit(callerMain())
	}
	if os.Getenv(asNode) != "" {
		os.Exit(nodeMain())
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) (code int) {
	// They wait for others, rather than compute.
	if err := flag.Set("test.parallel", "32"); err != nil {
		return fail(err)
	}
	// virtual-kubelet logs by klog what it tells its callers, too.
	utilruntime.ErrorHandlers = nil //nolint:reassign // the way that there is
	dir, err := os.MkdirTemp("", "kubelet")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "cocoon-agent")
	build := exec.Command("go", "build", "-o", program, "./cmd/cocoon-agent")
	build.Dir = ".."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fail(fmt.Errorf("build the agent: %w: %s", err, out))
	}
	agent, target, err := startAgent(dir)
	if err != nil {
		return fail(err)
	}
	shared = target
	code = m.Run()
	_ = agent.Process.Signal(os.Interrupt)
	if err := agent.Wait(); err != nil {
		code = max(code, fail(fmt.Errorf("agent: %w", err)))
	}
	if left := leftovers(); code == 0 && left != "" {
		code = fail(errors.New("goroutines are left behind:\n" + left))
	}
	return code
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// startAgent starts an agent on a socket in dir, and waits until it listens.
func startAgent(dir string) (cmd *exec.Cmd, target string, err error) {
	target = "unix://" + dir + "/s"
	cmd = exec.Command(program, "serve", "--listen", target)
	log, err := cmd.StderrPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	lines := bufio.NewReader(log)
	var said strings.Builder
	for {
		line, err := lines.ReadString('\n')
		said.WriteString(line)
		if err != nil {
			return nil, "", fmt.Errorf("the agent does not listen: %w: %s", err, &said)
		}
		if strings.Contains(line, `"listening"`) {
			go func() { _, _ = io.Copy(io.Discard, lines) }() // ends with the agent
			return cmd, target, nil
		}
	}
}

// ownAgent starts an agent that the test may kill.
func ownAgent(t *testing.T) (cmd *exec.Cmd, target string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cmd, target, err = startAgent(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, target
}

// pause stops an agent until the end of the test, as a VMM stops its VM.
func pause(t *testing.T, agent *exec.Cmd) {
	t.Helper()
	if err := agent.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = agent.Process.Signal(syscall.SIGCONT) })
	eventually(t, patience, "all threads have stopped", func() bool {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", agent.Process.Pid))
		for _, thread := range threads {
			stat, _ := os.ReadFile(thread)
			if !strings.Contains(string(stat), ") T ") {
				return false
			}
		}
		return true
	})
}

func newPool(tb testing.TB) *client.Pool {
	tb.Helper()
	p := client.NewPool(client.PoolConfig{})
	tb.Cleanup(func() { _ = p.Close() })
	return p
}

// leftovers returns the stacks of this module's goroutines that do not end.
// virtual-kubelet's own are not looked at: it leaves some.
func leftovers() string {
	deadline := time.Now().Add(5 * time.Second)
	for {
		all := make([]byte, 4<<20)
		all = all[:runtime.Stack(all, true)]
		var left []string
		for stack := range strings.SplitSeq(string(all), "\n\n") {
			if strings.Contains(stack, "cocoon-agent/kubelet.") || strings.Contains(stack, "cocoon-agent/client.") {
				left = append(left, stack)
			}
		}
		if left == nil || time.Now().After(deadline) {
			return strings.Join(left, "\n\n")
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the poll's interval, not a synchronisation
	}
}

// eventually waits for what another process or goroutine is about to bring about.
func eventually(tb testing.TB, within time.Duration, what string, done func() bool) {
	tb.Helper()
	deadline := time.Now().Add(within)
	for !done() {
		if time.Now().After(deadline) {
			tb.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // the poll's interval, not a synchronisation
	}
}

// gone says whether no process of that pid lives. A zombie does not.
func gone(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z") || strings.HasPrefix(after, "X")
}

func patiently(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	tb.Cleanup(cancel)
	return ctx
}
