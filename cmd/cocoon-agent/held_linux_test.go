package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/hangtest"
)

// holding skips a test of starts that hang if they cannot be made, or stop the agent.
func holding(t *testing.T, target string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make a start hang")
	}
	if i, err := dialed(t, target).Info(t.Context()); err != nil || i.Start == "vfork" {
		t.Skipf("a start that hangs stops the agent here: %+v, %v", i, err)
	}
}

// A heldClient is the program's client of a command whose execve hangs.
type heldClient struct {
	*exec.Cmd
	stderr bytes.Buffer
	pid    int // of the command's process
}

func holdClient(t *testing.T, p *hangtest.Program, target string, flags ...string) *heldClient {
	t.Helper()
	c := &heldClient{Cmd: program(t, append(append([]string{"client", "--target", target}, flags...), "--", p.Path())...)}
	c.Stderr = &c.stderr
	start(t, c.Cmd)
	c.pid = p.Await(t)
	return c
}

// wantStatus waits for the client's end. The process must be gone then, or soon.
func (c *heldClient) wantStatus(t *testing.T, status int, text string) {
	t.Helper()
	_ = within(t, "the end of a client", c.Wait)
	if got := c.ProcessState.ExitCode(); got != status || !strings.Contains(c.stderr.String(), text) {
		t.Errorf("%v: exit status %d, stderr %q, want %d and %q", c.Args[4:], got, &c.stderr, status, text)
	}
	eventually(t, "the process is gone", func() bool { return gone(strconv.Itoa(c.pid)) })
}

func TestClientsOfStartsThatHangEnd(t *testing.T) {
	t.Parallel() // with other tests that wait
	target, agent := agent(t)
	holding(t, target)
	p := hangtest.NewProgram(t)
	const timeout = 4 * time.Second
	begun := time.Now()
	timed := holdClient(t, p, target, "--timeout", timeout.String())
	told := []*heldClient{}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGKILL} {
		c := holdClient(t, p, target)
		_ = c.Process.Signal(sig)
		told = append(told, c)
	}
	last := holdClient(t, p, target)

	told[0].wantStatus(t, 143, "interrupted: terminated")
	told[1].wantStatus(t, 130, "interrupted: interrupt")
	told[2].wantStatus(t, -1, "")
	timed.wantStatus(t, 124, "stuck in execve "+p.Path())
	if took := time.Since(begun); took < timeout {
		t.Errorf("it ended after %v, before its timeout", took)
	}
	_ = agent.Process.Signal(syscall.SIGTERM)
	last.wantStatus(t, 137, "stuck in execve "+p.Path()+" (agent shut down)")
	if err := within(t, "the agent's end", agent.Wait); err != nil {
		t.Errorf("the agent: %v", err)
	}
}

// The agent and the starts that hang are all the processes and threads that its user may
// have.
func TestHeldStartsAtTheProcessLimit(t *testing.T) {
	target, agent := agentOf(t, 54321)
	holding(t, target)
	c := dialed(t, target)
	p := hangtest.NewProgram(t)
	const most = 256
	before := threadsOf(t, agent) // 16, some of the Go runtime, and one for each CPU
	processes(t, agent, strconv.Itoa(before+most))
	all := make([]*pending, most)
	for i := range all {
		all[i] = hold(t, c, "", p.Path())
	}
	for range all {
		p.Await(t)
	}
	processes(t, agent, "1")
	wantRefused(t, c.Command("true").Run(), client.Limit, "resource temporarily unavailable")
	if err := c.Ping(t.Context()); err != nil {
		t.Errorf("ping: %v", err)
	}
	if i, err := c.Info(t.Context()); err != nil || i.Kernel == "" {
		t.Errorf("info: %+v, %v", i, err)
	}
	if n := threadsOf(t, agent); n > before {
		t.Errorf("%d threads, %d before", n, before)
	}
	for _, h := range all {
		h.cancel()
	}
	for _, h := range all {
		h.end(t)
	}
	eventually(t, "no child is left", func() bool { return childrenOf(agent.Process.Pid) == 0 })
	processes(t, agent, "1000")
	if err := c.Command("true").Run(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func threadsOf(t *testing.T, agent *exec.Cmd) int {
	t.Helper()
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", agent.Process.Pid))
	if err != nil {
		t.Fatalf("the agent is gone: %v", err)
	}
	return len(threads)
}
