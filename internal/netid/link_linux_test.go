package netid_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/netid"
)

// bridged makes eth0 a port of br0, which has its addresses.
const bridged = `
	ip link add br0 type bridge
	ip addr flush dev eth0
	ip link set eth0 master br0
	ip link set br0 up
	ip addr add 10.0.0.1/24 dev br0
	ip route add default via 10.0.0.254
`

func TestBridgeOfAPortGetsTheAddresses(t *testing.T) {
	l := newLAN(t)
	l.one.sh(bridged)
	r := l.one.apply(one(cloneInterface("2")), t.TempDir())
	wantAll(t, r, true, "addresses", "mac", "routes")
	l.one.wantText("ip addr show br0", "10.0.0.1/", "52:54:00:00:00:02", "inet 10.0.0.2/24", "inet6 2001:db8::2/64", "fe80::5054:ff:fe00:2/64")
	l.one.wantText("ip addr show eth0", "inet 10", "52:54:00:00:00:02")
	l.one.wantText("ip -6 addr show eth0", snapshotLink+"/", "fe80::5054:ff:fe00:2/64")
	l.one.wantText("ip route", "", "default via 10.0.0.254 dev br0")
	wantAll(t, l.one.apply(one(cloneInterface("2")), t.TempDir()), false, "interfaces", "addresses", "mac", "routes", "neighbours")
}

// A bridge and a macvlan may have the MAC of a device that is gone.
func TestReplacedDeviceIsNoBridge(t *testing.T) {
	l := newLAN(t)
	l.one.sh(`
		ip link set eth0 address 52:54:00:00:00:02
		ip link add br0 type bridge; ip link set br0 address ` + snapshotMAC + ` up; ip addr add 10.5.0.1/24 dev br0
		ip link add mv0 link eth0 type macvlan; ip link set mv0 address ` + snapshotMAC + ` up; ip addr add 10.6.0.1/24 dev mv0
	`)
	i := cloneInterface("2")
	i.Replaced = true
	wantAll(t, l.one.apply(one(i), t.TempDir()), false, "interfaces")
	l.one.wantText("ip addr show br0", "", ",UP", "10.5.0.1/24")
	l.one.wantText("ip addr show mv0", "", ",UP", "10.6.0.1/24")
}

func TestReplacedPortIsAnError(t *testing.T) {
	l := newLAN(t)
	l.one.sh(bridged)
	i := cloneInterface("2")
	i.Replaced = true
	r := l.one.apply(one(i), t.TempDir())
	if err := outcome(t, r, "interfaces").Err; err == nil || strings.Count(err.Error(), "eth0 is a port of br0, which keeps its addresses") != 1 {
		t.Errorf("step interfaces: %v, want an error about the port", err)
	}
	l.one.wantText("ip link show eth0", "", ",UP")
}

func TestFailedRescanIsANote(t *testing.T) {
	l := newLAN(t)
	i := cloneInterface("2")
	i.Replaced = true
	sys := sysfs(t)
	if err := errors.Join(os.Remove(sys+"/bus/pci/rescan"), os.Mkdir(sys+"/bus/pci/rescan", 0o755)); err != nil {
		t.Fatal(err)
	}
	o := outcome(t, l.one.apply(netid.Network{Interfaces: []netid.Interface{i}}, sys), "interfaces")
	if !strings.Contains(o.Note, "PCI not rescanned: ") || o.Err == nil || strings.Contains(o.Err.Error(), "rescan") || !errors.Is(o.Err, netid.ErrNotFound) {
		t.Errorf("step interfaces: %+v, want a note, and %v", o, netid.ErrNotFound)
	}
}
