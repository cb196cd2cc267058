//go:build e2e && linux

// Package loopback_test tests agent and client over AF_VSOCK, as processes of
// one User-Mode-Linux guest: its loopback has CID 1, which an agent refuses
// unless it is told otherwise.
package loopback_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

// AF_VSOCK of any other kernel is not ours to use.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role))
	}
	os.Exit(checks.GuestMain(m))
}

const target = "vsock://1:1024"

func TestOverLoopback(t *testing.T) {
	checks.Serve(t, "--allow-cid", "1")
	a := checks.Agent{Program: checks.Program(t), Target: target}
	checks.Run(t, a)
	checks.Terminals(t, a)
}

func TestPeerThatIsNotTheHostIsRefused(t *testing.T) {
	agent := checks.Serve(t)
	got := checks.Agent{Program: checks.Program(t), Target: target}.Client(t, nil, "true")
	if got.Status != 255 || got.Stdout != "" || strings.Count(got.Stderr, "\n") != 1 || !strings.Contains(got.Stderr, target) {
		t.Errorf("client: %+v, want status 255 and one line with %s", got, target)
	}
	checks.Eventually(t, "the agent logs the refused peer", func() bool {
		return strings.Contains(agent.Log.String(), `"message":"peer refused"`)
	})
	if strings.Contains(agent.Log.String(), "exec") {
		t.Error("something has run")
	}
}

func TestPortInUseIsOneClearError(t *testing.T) {
	checks.Serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), checks.Patience)
	defer cancel()
	second := exec.CommandContext(ctx, checks.Program(t), "serve")
	out, _ := second.CombinedOutput()
	want := "cocoon-agent: listen on vsock://:1024: address already in use: the process that listens there can impersonate the agent\n"
	if lines := strings.SplitAfter(string(out), "\n"); second.ProcessState.ExitCode() != 1 || lines[max(0, len(lines)-2)] != want {
		t.Errorf("status %d, output %s", second.ProcessState.ExitCode(), out)
	}
}

func TestSIGTERMEndsCommandsAndExits0(t *testing.T) {
	agent := checks.Serve(t, "--allow-cid", "1")
	host := exec.Command(checks.Program(t), "client", "--cid", "1", "--", "sh", "-c", "echo up; exec sleep 1000")
	stdout, err := host.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = host.Process.Kill(); _ = host.Wait() })
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := agent.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := host.Wait(); host.ProcessState.ExitCode() != 128+int(syscall.SIGTERM) {
		t.Errorf("the client: %v", err)
	}
	if err := agent.Wait(); err != nil && !errors.Is(err, os.ErrClosed) {
		t.Errorf("the agent: %v", err)
	}
}
