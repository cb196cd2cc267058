//go:build e2e && linux

package hybrid_test

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// nics are two networks of QEMU's, each with a router at 10.0.2.2, and a virtio device on the first one.
var nics = []string{
	"-netdev", "user,id=lan0", "-netdev", "user,id=lan1",
	"-device", "virtio-net-pci,netdev=lan0,id=nic0,mac=52:54:00:00:00:01,romfile=",
}

// guestShell runs a script in the guest.
func (vm *vm) guestShell(t *testing.T, script string) string {
	t.Helper()
	got := vm.Client(t, nil, "sh", "-ec", script)
	if got.Status != 0 {
		t.Fatalf("sh -ec %q: %+v, want status 0", script, got)
	}
	return got.Stdout
}

// reseedNetwork gives the guest a network, and returns what the steps have said.
func (vm *vm) reseedNetwork(t *testing.T, document string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), vm.Program, "reseed", "--target", vm.Target, "--resume-file", "-")
	cmd.Stdin = strings.NewReader(document)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("reseed: %v:\n%s", err, out)
	}
	t.Logf("\n%s", out)
	return string(out)
}

// wantNetwork checks the interface with a MAC and the default route, and that a router answers.
func (vm *vm) wantNetwork(t *testing.T, mac, address string) {
	t.Helper()
	name := strings.TrimSpace(vm.guestShell(t, "basename $(dirname $(grep -l "+mac+" /sys/class/net/*/address))"))
	out := vm.guestShell(t, "ip addr show "+name+"; ip route")
	for _, want := range []string{"link/ether " + mac, "inet " + address + "/24 ", "default via 10.0.2.2 dev " + name} {
		if !strings.Contains(out, want) {
			t.Errorf("the guest's network: %s, want %q", out, want)
		}
	}
	if strings.Contains(out, "10.0.2.15/") || strings.Contains(out, "fe80::5054:ff:fe00:1/") {
		t.Errorf("the guest's network: %s, want no address of the snapshot", out)
	}
	vm.guestShell(t, "ping -c 1 -w 20 10.0.2.2")
}

// Two clones of one snapshot of memory, with a virtio device: its MAC is changed while it is up.
func TestClonesOfASnapshotGetTheirNetworks(t *testing.T) {
	made, qemu, m := bootMonitored(t, nics...)
	made.guestShell(t, "ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2; ping -c 1 -w 20 10.0.2.2")
	state := hibernate(t, qemu, m)
	for n, name := range []string{"clone-2", "clone-3"} {
		t.Run(name, func(t *testing.T) {
			vm, m := restoreWith(t, state, nics...)
			mac, address := fmt.Sprintf("52:54:00:00:00:0%d", n+2), fmt.Sprintf("10.0.2.2%d", n)
			document := func(mac, old, address, more string) string {
				return fmt.Sprintf(`{"interfaces": [{"mac": %q, "old_mac": %q, "addresses": ["%s/24"],
					"routes": [{"to": "default", "via": "10.0.2.2"}]%s}], "wait_ms": 30000}`, mac, old, address, more)
			}
			out := vm.reseedNetwork(t, document(mac, "52:54:00:00:00:01", address, ""))
			if !regexp.MustCompile(`(?m)^mac +changed$`).MatchString(out) {
				t.Errorf("no change of the MAC in:\n%s", out)
			}
			vm.wantNetwork(t, mac, address)

			// The VMM gives the clone another device.
			m.do("device_add", arguments{"driver": "virtio-net-pci", "netdev": "lan1", "id": "nic1", "mac": "52:54:00:00:00:09", "romfile": ""})
			out = vm.reseedNetwork(t, document("52:54:00:00:00:09", mac, "10.0.2.29", `, "replaced": true`))
			if !strings.Contains(out, "eth0 removed") {
				t.Errorf("no removal of eth0 in:\n%s", out)
			}
			vm.wantNetwork(t, "52:54:00:00:00:09", "10.0.2.29")
		})
	}
}
