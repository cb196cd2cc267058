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

// images names the environment variable with the folder of the guests that
// e2e/qemu/image.sh makes, one for each architecture.
const images = "QEMU_IMAGES"

// A machine is how QEMU emulates an architecture.
type machine struct {
	arch    string
	uname   string
	program string
	flags   []string
	console string
}

var (
	amd64 = machine{"amd64", "x86_64", "qemu-system-x86_64", []string{"-machine", "pc,memory-backend=ram", "-cpu", "max"}, "ttyS0"}

	// Pointer authentication as it is specified would take half of an emulator's time.
	arm64 = machine{
		"arm64", "aarch64", "qemu-system-aarch64",
		[]string{"-machine", "virt,gic-version=3,memory-backend=ram", "-cpu", "max,pauth-impdef=on"},
		"ttyAMA0",
	}
)

// boot starts a guest without a device, with a distribution's kernel, two CPUs and
// no KVM.
func (m machine) boot(t *testing.T, dir, console string, flags ...string) *exec.Cmd {
	t.Helper()
	return start(t, dir, m.program, slices.Concat(m.flags, []string{
		"-accel", "tcg,thread=multi", "-smp", "2", "-m", "512",
		"-object", "memory-backend-memfd,id=ram,size=512M,share=on", // which a device reads and writes
		"-kernel", filepath.Join(m.image(t), "kernel"), "-initrd", filepath.Join(m.image(t), "initrd"),
		"-append", "console=" + m.console + " quiet panic=-1",
		"-nodefaults", "-no-reboot", "-display", "none", "-serial", "file:" + console,
	}, flags)...)
}

func (m machine) image(t *testing.T) string {
	t.Helper()
	folder := os.Getenv(images)
	if folder == "" {
		t.Skipf("%s does not name a folder of guests: e2e/run.sh says why", images)
	}
	return filepath.Join(folder, m.arch)
}

// onVhost connects the device that listens there, as the character device vsock.
func onVhost(vhost string) []string { return []string{"-chardev", "socket,id=vsock,path=" + vhost} }

func TestInQEMU(t *testing.T) {
	for _, m := range []machine{amd64, arm64} {
		t.Run("arch="+m.arch, func(t *testing.T) {
			vm := boot(t, "correct", func(t *testing.T, dir, vhost, console string) {
				m.boot(t, dir, console, append(onVhost(vhost), "-device", "vhost-user-vsock-pci,chardev=vsock")...)
			})
			checks.Run(t, vm.Agent)
			if got := vm.Client(t, nil, "uname", "-m"); strings.TrimSpace(got.Stdout) != m.uname {
				t.Errorf("%+v", got)
			}
		})
	}
}
