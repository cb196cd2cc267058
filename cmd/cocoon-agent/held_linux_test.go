package main

import (
	"bytes"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

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
	const timeout = 2 * time.Second
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
