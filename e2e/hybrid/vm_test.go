//go:build e2e && linux

package hybrid_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

// instruments names the environment variable with the folder of hybridvsock,
// the device, and umlguest, which boots a guest with it.
const instruments = "HYBRIDVSOCK"

// A vm is a guest whose only command is the agent, in its default configuration.
type vm struct {
	checks.Agent
	device *exec.Cmd
}

// boot boots a guest and waits until its agent listens.
func boot(t *testing.T, vmm string) *vm {
	t.Helper()
	dir, err := os.MkdirTemp("", "vm") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	uds, vhost, console := filepath.Join(dir, "v.sock"), filepath.Join(dir, "vhost.sock"), filepath.Join(dir, "console")
	device := start(t, dir, "hybridvsock", "--socket", vhost, "--uds", uds, "--cid", "52", "--vmm", vmm)
	checks.Eventually(t, "the device is there", func() bool { return exists(vhost) && exists(uds) })
	program := checks.Program(t)
	start(t, dir, "umlguest", "--vsock", vhost, "--console", console,
		"--keep", filepath.Dir(program), "--env", "AGENT_LOG_LEVEL=debug", "--",
		"/bin/sh", "-c", `"$0" serve 2>&1 | cat`, program) // cat: on a terminal the log would be one for people
	t.Cleanup(func() {
		if text, err := os.ReadFile(console); t.Failed() {
			t.Logf("the guest's console (%v):\n%s", err, tail(text))
		}
	})
	checks.Eventually(t, "the agent listens", func() bool {
		text, err := os.ReadFile(console)
		if strings.Contains(string(text), "command ended") {
			t.Fatal("the agent has ended")
		}
		return err == nil && strings.Contains(string(text), `"message":"listening"`)
	})
	return &vm{checks.Agent{Program: program, Target: "hvsock://" + uds + ":1024"}, device}
}

// start starts one of the instruments. The end of the test ends it by SIGTERM,
// which each of them takes for an order to clean up.
func start(t *testing.T, dir, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(filepath.Join(os.Getenv(instruments), name), args...)
	said, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			_, _ = said.Seek(0, io.SeekStart)
			text, _ := io.ReadAll(said)
			t.Logf("%s said:\n%s", name, tail(text))
		}
		_ = said.Close()
	})
	return cmd
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// tail returns the end of a long text.
func tail(text []byte) []byte {
	const most = 8 << 10
	return text[max(0, len(text)-most):]
}
