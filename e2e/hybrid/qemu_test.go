//go:build e2e && linux

package hybrid_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

// images names the environment variable with the folder of the guests that
// e2e/qemu/image.sh makes, one for each architecture.
const images = "QEMU_IMAGES"

// machines are QEMU's programs, by architecture, with what they need to be told.
var machines = map[string]struct {
	argv    []string
	console string
}{
	"amd64": {[]string{"qemu-system-x86_64", "-machine", "q35,memory-backend=ram", "-cpu", "max"}, "ttyS0"},
	// Pointer authentication as the architecture has it takes an emulator half of its time.
	"arm64": {[]string{"qemu-system-aarch64", "-machine", "virt,gic-version=3,memory-backend=ram", "-cpu", "max,pauth-impdef=on"}, "ttyAMA0"},
}

// TestInQEMU tests with a distribution's kernel on two emulated CPUs, without KVM.
func TestInQEMU(t *testing.T) {
	folder := os.Getenv(images)
	if folder == "" {
		t.Skipf("%s does not name a folder of guests: e2e/run.sh says why", images)
	}
	for arch, machine := range machines {
		t.Run("arch="+arch, func(t *testing.T) {
			vm := boot(t, "correct", func(t *testing.T, dir, vhost, console string) {
				image := filepath.Join(folder, arch)
				args := append(machine.argv[1:],
					"-accel", "tcg,thread=multi", "-smp", "2", "-m", "512",
					"-object", "memory-backend-memfd,id=ram,size=512M,share=on", // which the device reads and writes
					"-chardev", "socket,id=vsock,path="+vhost, "-device", "vhost-user-vsock-pci,chardev=vsock",
					"-kernel", filepath.Join(image, "kernel"), "-initrd", filepath.Join(image, "initrd"),
					"-append", fmt.Sprintf("console=%s quiet panic=-1", machine.console),
					"-nodefaults", "-no-reboot", "-display", "none", "-serial", "file:"+console)
				start(t, dir, machine.argv[0], args...)
			})
			checks.Run(t, vm.Agent)
			uname := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[arch]
			if got := vm.Client(t, nil, "uname", "-m"); strings.TrimSpace(got.Stdout) != uname {
				t.Errorf("%+v", got)
			}
		})
	}
}
