package netid_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/netid"
)

// sysfs makes a directory like sysfs, in which eth0 is a virtio device on PCI.
func sysfs(t *testing.T) string {
	t.Helper()
	sys := t.TempDir()
	device := sys + "/devices/pci0000:00/0000:00:03.0/virtio0"
	for _, directory := range []string{device, sys + "/bus/pci", sys + "/bus/virtio", sys + "/class/net/eth0"} {
		if err := os.MkdirAll(directory, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		sys + "/class/net/eth0/device": device, device + "/subsystem": sys + "/bus/virtio",
		filepath.Dir(device) + "/subsystem": sys + "/bus/pci",
	} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{sys + "/bus/pci/rescan", filepath.Dir(device) + "/remove"} {
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return sys
}

func TestReplacedDeviceIsRemovedAndPCIRescanned(t *testing.T) {
	l := newLAN(t)
	i := cloneInterface("2")
	i.Replaced = true
	sys := sysfs(t)
	r := l.one.apply(netid.Network{Interfaces: []netid.Interface{i}}, sys)
	for _, file := range []string{"/bus/pci/rescan", "/devices/pci0000:00/0000:00:03.0/remove"} {
		if text, err := os.ReadFile(sys + file); string(text) != "1" || err != nil {
			t.Errorf("%s has %q, %v, want 1", file, text, err)
		}
	}
	o := outcome(t, r, "interfaces")
	if !o.Changed || o.Note != "eth0 removed; PCI rescanned" || !errors.Is(o.Err, netid.ErrNotFound) {
		t.Errorf("step interfaces: %+v, want eth0 removed, and no interface", o)
	}
	if out := l.one.sh("ip addr show eth0"); strings.Contains(out, "inet 10.0.0.") {
		t.Errorf("the replaced interface: %s, want no address", out)
	}
}

func TestInterfaceThatIsLeftIsAnError(t *testing.T) {
	l := newLAN(t)
	l.one.plug("eth1", l.peer, "eth1")
	l.one.sh("ip link set eth1 address 52:54:00:00:00:02")
	r := l.one.apply(netid.Network{Interfaces: []netid.Interface{cloneInterface("2")}}, t.TempDir())
	o := outcome(t, r, "interfaces")
	if o.Err == nil || !strings.Contains(o.Err.Error(), "eth0 still has 52:54:00:00:00:01 and is left as it is: say replaced") {
		t.Errorf("step interfaces: %+v, want an error about eth0", o)
	}
}

// The addresses of a replaced interface do not wait for the one that takes its place.
func TestReplacedInterfaceLosesItsAddressesAtOnce(t *testing.T) {
	l := newLAN(t)
	i := cloneInterface("2")
	i.Replaced = true
	beside := l.one.beside()
	done := make(chan []netid.Outcome)
	go func() { // ends by the interface that comes
		done <- l.one.apply(netid.Network{Interfaces: []netid.Interface{i}, Wait: patience}, t.TempDir())
	}()
	eventually(t, "the end of the old addresses", func() bool { return !beside.has("ip addr show eth0", "inet") })
	beside.plug("eth1", l.peer, "eth1")
	beside.sh("ip link set eth1 address 52:54:00:00:00:02")
	r := <-done
	wantAll(t, r, true, "interfaces", "addresses", "routes")
	if note := outcome(t, r, "addresses").Note; !strings.Contains(note, "old ones of eth0 gone ") {
		t.Errorf("step addresses: %q, want the time", note)
	}
}

func TestReplacedInterfaceGivesWayToTheNewOne(t *testing.T) {
	l := newLAN(t)
	l.one.plug("eth1", l.peer, "eth1")
	l.one.sh("ip link set eth1 address 52:54:00:00:00:02")
	i := cloneInterface("2")
	i.Replaced = true
	r := l.one.apply(netid.Network{Interfaces: []netid.Interface{i}}, t.TempDir())
	wantAll(t, r, true, "interfaces", "addresses", "routes")
	if out := l.one.sh("ip addr show eth0"); strings.Contains(out, "inet 10.0.0.") || strings.Contains(out, "UP") {
		t.Errorf("the replaced interface: %s, want it down without addresses", out)
	}
	if out := l.one.sh("ip addr show eth1; ip route"); !strings.Contains(out, "inet 10.0.0.2/24") || !strings.Contains(out, "default via 10.0.0.254 dev eth1") {
		t.Errorf("the new interface: %s, want the address and the route", out)
	}
	r = l.one.apply(netid.Network{Interfaces: []netid.Interface{i}}, t.TempDir())
	wantAll(t, r, false, "interfaces", "addresses", "routes")
}
