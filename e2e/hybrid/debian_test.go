//go:build e2e && linux

package hybrid_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	debianImages   = "DEBIAN_IMAGES"   // names a directory with RELEASE.ext4, of e2e/debian/image.sh
	debianReleases = "DEBIAN_RELEASES" // names the releases, with spaces between
	debianPackages = "DEBIAN_PACKAGES" // likewise, for RELEASE-deb.ext4
)

// debian boots a whole Debian, of the image with that name, whose systemd starts the agent.
func debian(t *testing.T, image string, kernel ...string) *vm {
	t.Helper()
	vm, vhost := newVM(t, "firecracker")
	args := []string{"--vsock", vhost, "--console", vm.console(), "--disk", filepath.Join(os.Getenv(debianImages), image+".ext4")}
	for _, arg := range kernel {
		args = append(args, "--karg", arg)
	}
	start(t, vm.dir, instrument("umlguest"), args...)
	vm.succeed(t, "wait", "--timeout", "4m")
	return vm
}

// succeed runs the program with the guest as its target, and wants it to succeed.
func (vm *vm) succeed(t *testing.T, args ...string) string {
	t.Helper()
	args = append([]string{args[0], "--target", vm.Target}, args[1:]...)
	out, err := exec.CommandContext(t.Context(), vm.Program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("cocoon-agent %q: %v: %s", args, err, out)
	}
	return string(out)
}

// sh runs a script in the guest, and wants it to succeed.
func (vm *vm) sh(t *testing.T, script string) string {
	t.Helper()
	got := vm.Client(t, nil, "sh", "-ec", script)
	if got.Status != 0 {
		t.Fatalf("sh -ec %s: %+v, want status 0", script, got)
	}
	return got.Stdout
}

// overDebian runs a test for each release.
func overDebian(t *testing.T, test func(t *testing.T, release string)) {
	t.Helper()
	if os.Getenv(debianImages) == "" {
		t.Skip("whole Debian guests: e2e/debian/run.sh, of .ci/nightly guests")
	}
	for release := range strings.FieldsSeq(os.Getenv(debianReleases)) {
		t.Run(release, func(t *testing.T) { test(t, release) })
	}
}

// journal writes a line to the journal, and wants journalctl(1) to find it.
func (vm *vm) journal(t *testing.T, line string) {
	t.Helper()
	got := vm.sh(t, "echo "+line+" | systemd-cat -t probe && journalctl --sync && journalctl -q -t probe -o cat")
	if !strings.Contains(got, line+"\n") {
		t.Errorf("journalctl finds %q of what was logged, want %q in it", got, line)
	}
}

// wantNew wants another machine-id than the image's, also as systemd reads it.
func (vm *vm) wantNew(t *testing.T) {
	t.Helper()
	const image = "0123456789abcdef0123456789abcdef"
	id := strings.TrimSpace(vm.sh(t, "cat /etc/machine-id"))
	if seen := strings.TrimSpace(vm.sh(t, "systemd-id128 machine-id")); len(id) != len(image) || id == image || seen != id {
		t.Errorf("machine-id %q, and %q for systemd; want one that is not the image's", id, seen)
	}
}

func TestDebianIsMadeAMachineOfItsOwn(t *testing.T) {
	overDebian(t, func(t *testing.T, release string) {
		vm := debian(t, release)
		t.Logf("%s", vm.sh(t, "systemctl is-system-running --wait || systemctl --failed; . /etc/os-release; echo $PRETTY_NAME"))
		vm.journal(t, "before")
		out := vm.succeed(t, "reseed", "--resume", "--hostname", "clone-1")
		t.Log(out)
		if !strings.Contains(out, "systemd-journald restarted") {
			t.Error("want a word on the journal")
		}
		vm.wantNew(t)
		vm.journal(t, "after")
		if got := vm.sh(t, "hostname; cat /etc/hostname"); got != "clone-1\nclone-1\n" {
			t.Errorf("hostname %q", got)
		}
		// The agent still logs to the journal, and has not been started again.
		log := vm.sh(t, "journalctl --sync; journalctl -q -u cocoon-agent -o cat; systemctl show -P NRestarts cocoon-agent")
		if !strings.Contains(log, `"message":"reseed"`) || !strings.HasSuffix(log, "\n0\n") {
			t.Errorf("the agent's journal and restarts:\n%s", log)
		}
	})
}

func TestDebianOnAReadOnlyDiskIsResumed(t *testing.T) {
	overDebian(t, func(t *testing.T, release string) {
		vm := debian(t, release, "ro")
		if got := vm.Client(t, nil, "touch", "/etc/probe"); got.Status == 0 {
			t.Fatal("the disk is not read-only")
		}
		for _, name := range []string{"clone-1", "clone-2"} {
			out := vm.succeed(t, "reseed", "--resume", "--hostname", name)
			t.Log(out)
			for _, want := range []string{"for this boot", "until the next boot", "systemd-journald restarted"} {
				if !strings.Contains(out, want) {
					t.Errorf("want %q", want)
				}
			}
			if got := vm.sh(t, "cmp /etc/machine-id /var/lib/dbus/machine-id"); got != "" {
				t.Error(got)
			}
			vm.wantNew(t)
			vm.journal(t, name)
			if got := vm.sh(t, "hostname"); got != name+"\n" {
				t.Errorf("hostname %q", got)
			}
		}
	})
}
