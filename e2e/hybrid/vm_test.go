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

// instruments names the environment variable with the directory of hybridvsock,
// the device, and umlguest, which boots a guest with it: e2e/instruments.
const instruments = "HYBRIDVSOCK"

// A vm is a guest whose only command is the agent, in its default configuration.
type vm struct {
	checks.Agent
	device *exec.Cmd
	dir    string
}

// A guest boots, with the device on a vhost-user socket and a file as its console,
// and runs the agent. The end of the test ends it.
type guest func(t *testing.T, dir, vhost, console string)

// uml is User-Mode Linux, which sees the host's files.
func uml(t *testing.T, dir, vhost, console string) {
	t.Helper()
	program := checks.Program(t)
	start(t, dir, instrument("umlguest"), "--vsock", vhost, "--console", console,
		"--keep", filepath.Dir(program), "--env", "AGENT_LOG_LEVEL=debug", "--",
		"/bin/sh", "-c", `"$0" serve --control /run/cocoon-agent/control.sock --announce vsock://2:52 --resume-counter /run/cocoon-agent/resumes 2>&1 | cat`, program) // cat: on a terminal the log would be one for people
}

// boot boots a guest with a device that behaves as vmm's, and waits until its
// agent listens.
func boot(t *testing.T, vmm string, in guest) *vm {
	t.Helper()
	vm, vhost := newVM(t, vmm)
	in(t, vm.dir, vhost, vm.console())
	vm.awaitListening(t)
	return vm
}

// newVM makes the device, which waits for its guest on a vhost-user socket.
func newVM(t *testing.T, vmm string) (made *vm, vhost string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "vm") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	uds, vhost := filepath.Join(dir, "v.sock"), filepath.Join(dir, "vhost.sock")
	device := start(t, dir, instrument("hybridvsock"), "--socket", vhost, "--uds", uds, "--cid", "52", "--vmm", vmm)
	checks.Eventually(t, "the device is there", func() bool { return exists(vhost) && exists(uds) })
	vm := &vm{checks.Agent{Program: checks.Program(t), Target: "hvsock://" + uds + ":1024"}, device, dir}
	t.Cleanup(func() {
		if text, err := os.ReadFile(vm.console()); t.Failed() {
			t.Logf("the guest's console (%v):\n%s", err, tail(text))
		}
	})
	return vm, vhost
}

func (vm *vm) console() string { return filepath.Join(vm.dir, "console") }

func (vm *vm) awaitListening(t *testing.T) {
	t.Helper()
	checks.Eventually(t, "the agent listens", func() bool {
		text, err := os.ReadFile(vm.console())
		if s := string(text); strings.Contains(s, "command ended") || strings.Contains(s, "Kernel panic") {
			t.Fatal("the agent has ended")
		}
		return err == nil && strings.Contains(string(text), `"message":"listening"`)
	})
}

func instrument(name string) string { return filepath.Join(os.Getenv(instruments), name) }

// start starts what makes a VM. The end of the test ends it by SIGTERM, which each
// takes for an order to clean up.
func start(t *testing.T, dir, program string, args ...string) *exec.Cmd {
	t.Helper()
	name := filepath.Base(program)
	cmd := exec.Command(program, args...)
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
