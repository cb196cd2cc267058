package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

const patience = 2 * time.Minute

// program is this program, run by a test.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), asAgent+"=1", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// start starts cmd. If cmd still runs at the end of the test, it is killed.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// agent starts an agent and waits until it listens.
func agent(t *testing.T) (target string, cmd *exec.Cmd) {
	t.Helper()
	return agentBy(t, func(cmd *exec.Cmd) *exec.Cmd { return cmd })
}

// agentBy starts an agent by another command, which must become it.
func agentBy(t *testing.T, other func(*exec.Cmd) *exec.Cmd) (target string, cmd *exec.Cmd) {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	target = "unix://" + dir + "/s"
	cmd = other(program(t, "serve", "--listen", target))
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	if err := listens(log); err != nil {
		t.Fatal(err)
	}
	return target, cmd
}

// listens waits for an agent's word that it listens.
func listens(log io.Reader) error {
	lines := bufio.NewReader(log)
	var said strings.Builder
	for {
		line, err := lines.ReadString('\n')
		said.WriteString(line)
		if err != nil {
			return fmt.Errorf("the agent does not listen: %w: %s", err, &said)
		}
		if strings.Contains(line, `"listening"`) {
			go func() { _, _ = io.Copy(io.Discard, lines) }() // ends with the agent
			return nil
		}
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for deadline := time.Now().Add(patience); !done(); <-poll.C {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func gone(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err != nil || bytes.Contains(stat, []byte(") Z"))
}

func TestOverAUnixSocket(t *testing.T) {
	target, _ := agent(t)
	self := program(t)
	t.Setenv(asAgent, "1")
	checks.Run(t, checks.Agent{Program: self.Path, Target: target})
}

func TestKilledClientLeavesNoProcessBehind(t *testing.T) {
	target, _ := agent(t)
	cmd := program(t, "client", "--target", target, "--", "sh", "-c", "sleep 1000 & echo $! $$; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Process.Kill()
	for _, pid := range strings.Fields(line) {
		eventually(t, "process "+pid+" is gone", func() bool { return gone(pid) })
	}
}

func TestSIGTERMEndsTheCommandsAndTellsTheirHosts(t *testing.T) {
	target, agent := agent(t)
	cmd := program(t, "client", "--target", target, "--", "sh", "-c", `trap "echo bye; exit 9" TERM; echo up; while :; do sleep 0.05; done`)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	lines := bufio.NewReader(stdout)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := agent.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(lines)
	if err != nil || string(rest) != "bye\n" {
		t.Errorf("what the command wrote as it ended: %q, %v", rest, err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 9 || !strings.Contains(stderr.String(), "exit status 9 (agent shut down)\n") {
		t.Errorf("exit status %d, stderr %q", code, &stderr)
	}
	if err := agent.Wait(); err != nil {
		t.Errorf("the agent: %v", err)
	}
}

func TestKilledAgentIsAnErrorAndNotAShortSuccess(t *testing.T) {
	target, agent := agent(t)
	cmd := program(t, "client", "--target", target, "--", "cat", "/dev/zero")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	if _, err := io.CopyN(io.Discard, out, 10<<20); err != nil {
		t.Fatal(err)
	}
	_ = agent.Process.Kill()
	_, _ = io.Copy(io.Discard, out)
	err = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 255 {
		t.Errorf("exit status %d, error %v", code, err)
	}
	if line := stderr.String(); !strings.Contains(line, "exit status of process") || !strings.Contains(line, "connection lost") || strings.Count(line, "\n") != 1 {
		t.Errorf("stderr %q", line)
	}
}

func TestHostThatStopsReadingLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as the pause")
	}
	t.Parallel()
	target, _ := agent(t)
	const size = 32 << 20
	script := fmt.Sprintf(`head -c %d /dev/urandom | tee /dev/stderr | sha256sum >sum`, size)
	cmd := program(t, "client", "--target", target, "--dir", t.TempDir(), "--", "sh", "-c", script+" && cat sum >&2")
	cmd.Stdin = nil
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, cmd)
	sum := sha256.New()
	if _, err := io.CopyN(sum, stderr, size/4); err != nil {
		t.Fatal(err)
	}
	<-time.After(stallTime)
	if _, err := io.CopyN(sum, stderr, size-size/4); err != nil {
		t.Fatal(err)
	}
	want, err := io.ReadAll(stderr)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x", sum.Sum(nil)); err != nil || !strings.HasPrefix(string(want), got) {
		t.Errorf("received %s, the command wrote %s (%v)", got, want, err)
	}
}

// "client" does not change the streams that a program hands on to it: the program gets
// what the command itself would give it. No terminal is needed, an end of input is one,
// a reader that goes away ends it, and an input that nobody reads does not hold it.
func TestClientIsAPipesEnd(t *testing.T) {
	target, _ := agent(t)
	pid := t.TempDir() + "/pid"
	for name, x := range map[string]struct {
		script string
		head   bool // the reader goes away after a line
		held   bool // the input does not end
		status int
		out    string
	}{
		"input and its end":                {script: "cat; exit 3", status: 3, out: "in\n"},
		"input that is held open":          {script: "head -n 1; exit 3", held: true, status: 3, out: "in\n"},
		"reader that goes away":            {script: "echo $$ >" + pid + "; exec yes", head: true, held: true, status: -1, out: "y\n"},
		"terminal is not there, and asked": {script: "test -t 0 || test -t 1 || echo none", out: "none\n"},
	} {
		cmd := program(t, "client", "--target", target, "--", "sh", "-c", x.script)
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		start(t, cmd)
		_, _ = io.WriteString(stdin, "in\n")
		if !x.held {
			_ = stdin.Close()
		}
		var out []byte
		if x.head {
			line, _ := bufio.NewReader(stdout).ReadString('\n')
			out = []byte(line)
			_ = stdout.Close()
		} else if out, err = io.ReadAll(stdout); err != nil {
			t.Fatal(err)
		}
		late := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		if !late.Stop() {
			t.Errorf("%s: it does not end", name)
		}
		state := cmd.ProcessState
		if string(out) != x.out || state.ExitCode() != x.status {
			t.Errorf("%s: %q, %v, want %q and status %d", name, out, state, x.out, x.status)
		}
		if x.head && state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGPIPE {
			t.Errorf("%s: %v, want SIGPIPE, as of the command itself", name, state)
		}
	}
	text, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "yes is gone", func() bool { return gone(strings.TrimSpace(string(text))) })
}

func TestSecondSignalKillsTheCommands(t *testing.T) {
	target, a := agentBy(t, func(cmd *exec.Cmd) *exec.Cmd {
		cmd.Args = append(cmd.Args, "--shutdown-grace", "10m")
		return cmd
	})
	host := program(t, "client", "-n", "--target", target, "--", "sh", "-c",
		`trap 'echo asked' TERM; echo $$; while :; do sleep 0.05; done`)
	out, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(t, host)
	said := bufio.NewReader(out)
	pid, _ := said.ReadString('\n')
	_ = a.Process.Signal(syscall.SIGTERM)
	if line, err := said.ReadString('\n'); line != "asked\n" {
		t.Fatalf("the command says %q, %v", line, err)
	}
	_ = a.Process.Signal(syscall.SIGTERM)
	_ = host.Wait()
	if got := host.ProcessState.ExitCode(); got != 137 {
		t.Errorf("exit status %d", got)
	}
	if err := a.Wait(); err != nil {
		t.Errorf("the agent: %v", err)
	}
	eventually(t, "the command is gone", func() bool { return gone(strings.TrimSpace(pid)) })
}
