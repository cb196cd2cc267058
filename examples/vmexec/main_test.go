//go:build linux

package main

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/cocoonstack/cocoon-agent/client/agenttest"
)

func null(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestVMExec(t *testing.T) {
	vm := agenttest.New(t)
	for name, test := range map[string]struct {
		args           []string
		status         int
		stdout, stderr string
	}{
		"output":    {[]string{vm.Target, "sh", "-c", "echo out; echo err >&2"}, 0, "out\n", "err\n"},
		"status":    {[]string{vm.Target, "sh", "-c", "exit 7"}, 7, "", ""},
		"signal":    {[]string{vm.Target, "sh", "-c", "kill -TERM $$"}, 143, "", ""},
		"not found": {[]string{vm.Target, "no-such-command"}, 127, "", "vmexec: "},
		"no VM":     {[]string{"-wait", "50ms", "unix:///no/such", "true"}, 255, "", "vmexec: connect to unix:///no/such: "},
		"usage":     {[]string{vm.Target}, 2, "", "usage: "},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			status := run(test.args, null(t), &stdout, &stderr)
			if status != test.status || stdout.String() != test.stdout || !strings.HasPrefix(stderr.String(), test.stderr) {
				t.Errorf("status %d, %q, %q, want %d, %q, %q", status, &stdout, &stderr, test.status, test.stdout, test.stderr)
			}
		})
	}
}

func TestVMExecWaitsForTheVM(t *testing.T) {
	vm := agenttest.NewWith(t, agenttest.Options{Late: true})
	time.AfterFunc(50*time.Millisecond, vm.Start)
	var stdout, stderr bytes.Buffer
	if status := run([]string{vm.Target, "echo", "up"}, null(t), &stdout, &stderr); status != 0 || stdout.String() != "up\n" {
		t.Errorf("status %d, %q, %q", status, &stdout, &stderr)
	}
}

func TestVMExecInATerminal(t *testing.T) {
	vm := agenttest.New(t)
	master, local, err := pty.Open()
	if err != nil {
		t.Skip(err)
	}
	defer master.Close()
	defer local.Close()
	if err := pty.Setsize(master, &pty.Winsize{Rows: 33, Cols: 101}); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	status := run([]string{"-t", vm.Target, "sh", "-c", "stty size; exit 3"}, local, &stdout, &stderr)
	if status != 3 || stdout.String() != "33 101\r\n" {
		t.Errorf("status %d, %q, %q", status, &stdout, &stderr)
	}
}
