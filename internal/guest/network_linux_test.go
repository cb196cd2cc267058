package guest

import (
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/netid"
)

func cloneNetwork() *netid.Network {
	return &netid.Network{
		Interfaces: []netid.Interface{{
			MAC: net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2}, OldMAC: net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1},
			Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("2001:db8::2/64")},
			Routes: []netid.Route{
				{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.0.254"), Metric: 100},
				{To: netip.MustParsePrefix("192.0.2.0/24"), Via: netip.MustParseAddr("10.9.0.1"), OnLink: true},
				{To: netip.MustParsePrefix("198.51.100.1/32")},
			},
		}},
		DNS:   &netid.DNS{Servers: []netip.Addr{netip.MustParseAddr("10.0.0.53"), netip.MustParseAddr("::1")}, Search: []string{"example.org", "test"}},
		Hosts: []netid.Host{{Address: netip.MustParseAddr("10.0.0.2"), Names: []string{"web-17", "web"}}},
	}
}

// wantFile checks what a file below root has, and its mode.
func wantFile(t *testing.T, path, want string, mode fs.FileMode) {
	t.Helper()
	text, err := os.ReadFile(path)
	if string(text) != want || err != nil {
		t.Errorf("%s has %q, %v, want %q", filepath.Base(path), text, err, want)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm() != mode {
		t.Errorf("%s has mode %v, want %v", filepath.Base(path), info.Mode(), mode)
	}
}

// twice calls a step twice, and checks that it changes something the first time alone. It returns the
// first note.
func twice(t *testing.T, step func() (bool, string, error)) (first string) {
	t.Helper()
	for n, want := range []bool{true, false} {
		changed, note, err := step()
		if changed != want || err != nil {
			t.Errorf("%d: changed %t, %q, %v, want changed %t", n, changed, note, err, want)
		}
		if n == 0 {
			first = note
		}
	}
	return first
}

const networkd = "proc/17/comm"

func TestNetworkdGetsTheFileOfTheNewMAC(t *testing.T) {
	root := tree(t, map[string]string{
		networkd: "systemd-network\n", "run/systemd/netif/state": "", "run/dbus/system_bus_socket": "",
		"usr/bin/networkctl":                          "#!/bin/sh\necho \"$@\" >>$(dirname $0)/../../told\n",
		"etc/systemd/network/10-525400000001.network": "[Match]\nMACAddress=52:54:00:00:00:01\n",
	})
	n := cloneNetwork()
	note := twice(t, func() (bool, string, error) { return managerOf(root).configure(n) })
	if note != "systemd-networkd reloaded" {
		t.Errorf("note %q", note)
	}
	wantFile(t, root+"/etc/systemd/network/10-525400000002.network", `# Written by cocoon-agent at each reseed.
[Match]
MACAddress=52:54:00:00:00:02

[Network]
Address=10.0.0.2/24
Address=2001:db8::2/64
DNS=10.0.0.53
DNS=::1
Domains=example.org test

[Route]
Destination=0.0.0.0/0
Gateway=10.0.0.254
Metric=100

[Route]
Destination=192.0.2.0/24
Gateway=10.9.0.1
GatewayOnLink=yes

[Route]
Destination=198.51.100.1/32
Scope=link
`, 0o644)
	wantFile(t, root+"/told", "reload\n", 0o644)
	if _, err := os.Stat(root + "/etc/systemd/network/10-525400000001.network"); !os.IsNotExist(err) {
		t.Errorf("the file of the old MAC: %v, want none", err)
	}
}

func TestNetworkdKeepsItsAddressesForTheNewMAC(t *testing.T) {
	root := tree(t, map[string]string{
		networkd: "systemd-network\n", "run/systemd/netif/state": "",
		"etc/systemd/network/10-525400000001.network": "[Match]\nMACAddress=52:54:00:00:00:01\n[Network]\nDHCP=yes\n",
	})
	n := cloneNetwork()
	n.Interfaces[0].Addresses, n.Interfaces[0].Routes, n.DNS = nil, nil, nil
	note := twice(t, func() (bool, string, error) { return managerOf(root).configure(n) })
	if want := "systemd-networkd reads the files when it is restarted: no networkctl, or no D-Bus"; note != want {
		t.Errorf("note %q, want %q", note, want)
	}
	wantFile(t, root+"/etc/systemd/network/10-525400000002.network", "[Match]\nMACAddress=52:54:00:00:00:02\n[Network]\nDHCP=yes\n", 0o644)
}

func TestOtherManagersAreNamedAlone(t *testing.T) {
	root := tree(t, map[string]string{
		"proc/1/comm": "systemd\n", "proc/17/comm": "NetworkManager\n", "proc/20/comm": "dhcpcd\n", "proc/21/comm": "dhcpcd\n",
		"run/network/ifstate": "", "proc/30/comm": "systemd-network\n", // a container's: there is no /run/systemd/netif
	})
	changed, note, err := managerOf(root).configure(cloneNetwork())
	want := "may undo the changes, and have files of their own: NetworkManager, dhcpcd, ifupdown; systemd-networkd does not run: no file written"
	if changed || note != want || err != nil {
		t.Errorf("configure = %t, %q, %v, want %q", changed, note, err, want)
	}
}

func TestFailedReloadIsANote(t *testing.T) {
	root := tree(t, map[string]string{
		networkd: "systemd-network\n", "run/systemd/netif/state": "", "run/dbus/system_bus_socket": "",
		"usr/bin/networkctl": "#!/bin/sh\necho no bus >&2; exit 1\n",
	})
	changed, note, err := managerOf(root).configure(cloneNetwork())
	if want := "systemd-networkd reads the files when it is restarted: networkctl reload: exit status 1: no bus"; !changed || note != want || err != nil {
		t.Errorf("configure = %t, %q, %v, want %q", changed, note, err, want)
	}
}

func TestResolvConfHasTheServers(t *testing.T) {
	const want = "search example.org test\nnameserver 10.0.0.53\nnameserver ::1\n"
	for name, test := range map[string]struct{ before, want string }{
		"plain":    {"# mine\ndomain old\nsearch old\nnameserver 1.1.1.1\noptions edns0", "# mine\noptions edns0\n" + want},
		"with tab": {"nameserver\t1.1.1.1\n", want},
		"empty":    {"", want},
	} {
		t.Run(name, func(t *testing.T) {
			root := tree(t, map[string]string{"etc/resolv.conf": test.before})
			if err := os.Chmod(root+"/etc/resolv.conf", 0o640); err != nil {
				t.Fatal(err)
			}
			twice(t, func() (bool, string, error) { return managerOf(root).setDNS(cloneNetwork()) })
			wantFile(t, root+"/etc/resolv.conf", test.want, 0o640)
		})
	}
}

func TestResolvConfOfOthersIsChangedInItsPlace(t *testing.T) {
	root := tree(t, map[string]string{"etc/hosts": "", "run/resolvconf/resolv.conf": "nameserver 1.1.1.1\n"})
	if err := os.Symlink("../run/resolvconf/resolv.conf", root+"/etc/resolv.conf"); err != nil {
		t.Fatal(err)
	}
	note := twice(t, func() (bool, string, error) { return managerOf(root).setDNS(cloneNetwork()) })
	if want := "/etc/resolv.conf is a link to /run/resolvconf/resolv.conf, which is changed"; note != want {
		t.Errorf("note %q, want %q", note, want)
	}
	if _, note, _ := managerOf(root).setDNS(cloneNetwork()); note != "/etc/resolv.conf is a link to /run/resolvconf/resolv.conf" {
		t.Errorf("note %q of what has not changed", note)
	}
	wantFile(t, root+"/run/resolvconf/resolv.conf", "search example.org test\nnameserver 10.0.0.53\nnameserver ::1\n", 0o755)
	if _, err := os.Readlink(root + "/etc/resolv.conf"); err != nil {
		t.Errorf("the link: %v", err)
	}
}

// resolved makes a root whose resolv.conf is systemd-resolved's.
func resolved(t *testing.T, files map[string]string) string {
	t.Helper()
	files["etc/hosts"] = ""
	root := tree(t, files)
	if err := os.Symlink("../run/systemd/resolve/stub-resolv.conf", root+"/etc/resolv.conf"); err != nil {
		t.Fatal(err)
	}
	return root
}

func TestResolvedGetsAFileOfItsOwn(t *testing.T) {
	root := resolved(t, map[string]string{"usr/bin/systemctl": "#!/bin/sh\necho \"$@\" >>$(dirname $0)/../../told\n"})
	if note := twice(t, func() (bool, string, error) { return managerOf(root).setDNS(cloneNetwork()) }); note != "systemd-resolved restarted" {
		t.Errorf("note %q", note)
	}
	wantFile(t, root+"/etc/systemd/resolved.conf.d/10-cocoon-agent.conf",
		"# Written by cocoon-agent at each reseed.\n[Resolve]\nDNS=10.0.0.53\nDNS=::1\nDomains=example.org test\n", 0o644)
	wantFile(t, root+"/told", "try-restart systemd-resolved.service\n", 0o644)
}

func TestResolvedHearsFromNetworkd(t *testing.T) {
	root := resolved(t, map[string]string{networkd: "systemd-network\n", "run/systemd/netif/state": ""})
	m := managerOf(root)
	if changed, _, err := m.configure(cloneNetwork()); !changed || err != nil {
		t.Errorf("configure = %t, %v, want a file", changed, err)
	}
	changed, note, err := m.setDNS(cloneNetwork())
	if changed || !strings.Contains(note, "set by the file of systemd-networkd") || err != nil {
		t.Errorf("setDNS = %t, %q, %v, want a note", changed, note, err)
	}
	n := cloneNetwork()
	n.Interfaces = nil // then networkd has no file of the agent's
	if changed, _, err := managerOf(root).setDNS(n); !changed || err != nil {
		t.Errorf("setDNS without interfaces = %t, %v, want a file of resolved's", changed, err)
	}
}

func TestHostsHaveTheAgentsBlock(t *testing.T) {
	const own = "# cocoon-agent: begin\n10.0.0.2\tweb-17 web\n# cocoon-agent: end\n"
	for name, test := range map[string]struct{ before, want string }{
		"first":           {"127.0.0.1 localhost\n", "127.0.0.1 localhost\n" + own},
		"renewed":         {"a\n# cocoon-agent: begin\nold\n# cocoon-agent: end\nb", "a\nb\n" + own},
		"twice":           {own + "a\n" + own, "a\n" + own},
		"no end":          {"a\n# cocoon-agent: begin\nb\n", "a\nb\n" + own},
		"an end alone":    {"a\n# cocoon-agent: end\nb\n", "a\nb\n" + own},
		"two beginnings":  {"# cocoon-agent: begin\na\n# cocoon-agent: begin\nb\n# cocoon-agent: end\n", "a\n" + own},
		"beside the name": {"127.0.1.1\tweb\t# cocoon-agent\n", "127.0.1.1\tweb\t# cocoon-agent\n" + own},
	} {
		t.Run(name, func(t *testing.T) {
			root := tree(t, map[string]string{"etc/hosts": test.before})
			if err := os.Chmod(root+"/etc/hosts", 0o600); err != nil {
				t.Fatal(err)
			}
			twice(t, func() (bool, string, error) { return setHosts(root, cloneNetwork().Hosts) })
			wantFile(t, root+"/etc/hosts", test.want, 0o600)
		})
	}
	root := tree(t, map[string]string{"etc/hosts": own})
	if _, err := renewHosts(root+"/etc/hosts", "web-17"); err != nil {
		t.Error(err)
	}
	wantFile(t, root+"/etc/hosts", own, 0o755) // the name is there already
}
