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

// While the agent drains output after the command, only a pipe without output is
// silent. An agent that has had no CPU meanwhile finds the output late, and all the
// same. Whether it learns of the output or of the time first is chance, so there are
// several commands.
func TestDrainReadsOutputAfterTheAgentWasHeldUp(t *testing.T) {
	target, agent := agent(t)
	c, err := client.Dial(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var all []*straggler
	for range 16 {
		all = append(all, newStraggler(t, c))
	}
	for _, s := range all {
		s.tell(t, s.end)
	}
	for _, s := range all {
		eventually(t, "the command ends", func() bool { return gone(strconv.Itoa(s.cmd.PID())) })
	}
	if err := agent.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		s.tell(t, s.fifo)
		eventually(t, "the daemon ends", func() bool { return gone(s.daemon) })
	}
	time.Sleep(proc.DrainIdle + 500*time.Millisecond) //nolint:forbidigo // for how long the agent is held up
	if err := agent.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		rest, err := io.ReadAll(s.lines)
		if err != nil || string(rest) != "late\n" {
			t.Errorf("%q, %v, want what the daemon has written", rest, err)
		}
		if err := s.cmd.Wait(); err != nil || s.cmd.ProcessState.OutputCut() {
			t.Errorf("%v, cut: %v", err, s.cmd.ProcessState.OutputCut())
		}
	}
}

// A straggler is a command that ends when it is told to, and leaves a daemon
// behind, which writes what it is told.
type straggler struct {
	cmd       *client.Cmd
	lines     *bufio.Reader
	end, fifo string
	daemon    string // pid
}

func (s *straggler) tell(t *testing.T, fifo string) {
	t.Helper()
	if err := os.WriteFile(fifo, []byte("late\n"), 0); err != nil {
		t.Fatal(err)
	}
}

func newStraggler(t *testing.T, c *client.Client) *straggler {
	t.Helper()
	dir := t.TempDir()
	s := &straggler{end: filepath.Join(dir, "end"), fifo: filepath.Join(dir, "daemon")}
	for _, fifo := range []string{s.end, s.fifo} {
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.cmd = c.Command("sh", "-c", "(read -r line <"+s.fifo+"; echo $line) & echo $!; read -r line <"+s.end)
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.lines = bufio.NewReader(stdout)
	daemon, _ := s.lines.ReadString('\n')
	s.daemon = strings.TrimSpace(daemon)
	return s
}
