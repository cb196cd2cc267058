package main

import (
	"bytes"
	"crypto/rand"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startAgent builds the agent of this repository and starts it on a Unix socket.
func startAgent(t *testing.T) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "yamuxhost") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "cocoon-agent"), "./cmd/cocoon-agent")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	socket = filepath.Join(dir, "s")
	agent := exec.Command(filepath.Join(dir, "cocoon-agent"), "serve", "--listen", "unix://"+socket)
	var log bytes.Buffer
	agent.Stderr = &log
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = agent.Process.Signal(os.Interrupt)
		if err := agent.Wait(); err != nil || t.Failed() {
			t.Logf("the agent ended with %v: %s", err, &log)
		}
	})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-tick.C {
		if _, err := os.Stat(socket); err == nil {
			return socket
		}
	}
	t.Fatal("the agent does not listen")
	return ""
}

func TestHostFromTheProtocolAlone(t *testing.T) {
	socket := startAgent(t)
	random := make([]byte, 3<<20) // many windows
	_, _ = rand.Read(random)
	for _, test := range []struct {
		name, stdin    string
		argv           []string
		stdout, stderr string
		code           int
	}{
		{name: "output", argv: []string{"sh", "-c", "echo out; echo err >&2"}, stdout: "out\n", stderr: "err\n"},
		{name: "status", argv: []string{"sh", "-c", "exit 7"}, code: 7},
		{name: "signal", argv: []string{"sh", "-c", "kill -TERM $$"}, code: 143},
		{name: "input", argv: []string{"cat"}, stdin: string(random), stdout: string(random)},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code, err := run(socket, test.argv, strings.NewReader(test.stdin), &stdout, &stderr)
			if code != test.code || err != nil {
				t.Errorf("run(%q) = %d, %v, want %d", test.argv, code, err, test.code)
			}
			if stdout.String() != test.stdout || stderr.String() != test.stderr {
				t.Errorf("run(%q) has %d bytes of stdout and %q, want %d and %q",
					test.argv, stdout.Len(), stderr.String(), len(test.stdout), test.stderr)
			}
		})
	}
	t.Run("refusal", func(t *testing.T) {
		if code, err := run(socket, []string{"no-such-command"}, strings.NewReader(""), io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "not_found") {
			t.Errorf("run of a command that is not there = %d, %v, want not_found", code, err)
		}
	})
}
