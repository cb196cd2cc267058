//go:build e2e && linux

package hybrid_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

// images names the environment variable with the directory of the guests that
// e2e/qemu/image.sh makes, one for each architecture.
const images = "QEMU_IMAGES"

// bootQEMU starts the guest of an architecture, with a distribution's kernel, without
// a device.
func bootQEMU(t *testing.T, arch, dir, console string, flags ...string) *exec.Cmd {
	t.Helper()
	directory := os.Getenv(images)
	if directory == "" {
		t.Skipf("%s does not name a directory of guests: e2e/run.sh says why", images)
	}
	image := filepath.Join(directory, arch)
	text, err := os.ReadFile(filepath.Join(image, "qemu"))
	if err != nil {
		t.Fatal(err)
	}
	argv := strings.Split(strings.TrimSpace(string(text)), "\n")
	argv = append(argv, "-initrd", filepath.Join(image, "initrd"), "-serial", "file:"+console)
	return start(t, dir, argv[0], append(argv[1:], flags...)...)
}

// onVhost connects the device that listens there, as the character device vsock.
func onVhost(vhost string) []string { return []string{"-chardev", "socket,id=vsock,path=" + vhost} }

func TestInQEMU(t *testing.T) {
	for arch, uname := range map[string]string{"amd64": "x86_64", "arm64": "aarch64"} {
		t.Run("arch="+arch, func(t *testing.T) {
			vm := boot(t, "correct", func(t *testing.T, dir, vhost, console string) {
				bootQEMU(t, arch, dir, console, append(onVhost(vhost), "-device", "vhost-user-vsock-pci,chardev=vsock")...)
			})
			checks.Run(t, vm.Agent)
			if got := vm.Client(t, nil, "uname", "-m"); strings.TrimSpace(got.Stdout) != uname {
				t.Errorf("uname -m: %+v, want %s", got, uname)
			}
			wantArgumentsAreTheCommandsMemory(t, vm)
			t.Run("ResumedCommandSurvivesResetsAndUpgrades", vm.resume)
		})
	}
}

// wantArgumentsAreTheCommandsMemory needs a whole kernel: that of User-Mode Linux, 6.1,
// may panic if memory ends in the middle of an execve.
func wantArgumentsAreTheCommandsMemory(t *testing.T, vm *vm) {
	t.Helper()
	vm.Flags = []string{"--memory", "1MiB"}
	defer func() { vm.Flags = nil }()
	// A shell that became sleep would have few arguments, maybe before it has its limit.
	argv := append([]string{"sh", "-c", "sleep 1000; exit 1"}, slices.Repeat([]string{strings.Repeat("x", 100_000)}, 15)...)
	got := vm.Client(t, nil, argv...)
	if got.Status != 137 || !strings.Contains(got.Stderr, "memory limit exceeded (out of memory)") {
		t.Errorf("the large command: %+v, want status 137, out of memory", got)
	}
	vm.Flags = nil
	if got := vm.Client(t, nil, "cat", "/proc/1/comm"); got.Stdout != "init\n" { // the agent lives
		t.Errorf("cat /proc/1/comm: %+v, want init", got)
	}
}
