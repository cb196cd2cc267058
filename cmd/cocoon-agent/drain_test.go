package main

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// Output that is waited for, after the command, is silent only where there is
// none: an agent that has had no CPU meanwhile finds it late, and all the same.
func TestOutputThatTheAgentIsHeldUpForIsNoSilence(t *testing.T) {
	target, agent := agent(t)
	c, err := client.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := c.Command("sh", "-c", "(read -r line <"+fifo+"; echo $line) & echo $!")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	daemon, _ := lines.ReadString('\n')
	daemon = strings.TrimSpace(daemon)
	eventually(t, "the command ends", func() bool { return gone(strconv.Itoa(cmd.PID())) })
	if err := agent.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(fifo, []byte("late\n"), 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the daemon ends", func() bool { return gone(daemon) })
	time.Sleep(proc.DrainIdle + 500*time.Millisecond) //nolint:forbidigo // for how long the agent is held up
	if err := agent.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(lines)
	if err != nil || string(rest) != "late\n" {
		t.Errorf("%q, %v, want what the daemon has written", rest, err)
	}
	if err := cmd.Wait(); err != nil || cmd.ProcessState.OutputCut() {
		t.Errorf("%v, cut: %v", err, cmd.ProcessState.OutputCut())
	}
}
