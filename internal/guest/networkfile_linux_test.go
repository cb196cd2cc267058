package guest

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/netid"
)

const (
	oldNetworkFile   = "etc/systemd/network/10-525400000001.network"
	movedNetworkFile = "etc/systemd/network/10-525400000002.network"
)

// fullNetworkFile has a setting of each kind.
const fullNetworkFile = `# the image's
[Match]
MACAddress=aa:bb:cc:dd:ee:ff 52-54-00-00-00-01
[Link]
MTUBytes=1400
[Network]
IPv6AcceptRA=no
Address=10.0.0.1/24
Gateway=10.0.0.253
DNS=10.0.0.50
Domains=old.example

[Address]
Address=10.0.0.9/24

[Route]
Destination=192.0.2.0/24
Gateway=10.0.0.252

[Route]
Gateway=10.0.0.251
Table=100
`

func withNetworkd(t *testing.T, file string) string {
	t.Helper()
	return tree(t, map[string]string{networkd: "systemd-network\n", "run/systemd/netif/state": "", oldNetworkFile: file})
}

func TestNetworkFileKeepsWhatIsNotGiven(t *testing.T) {
	head := "# the image's\n[Match]\nMACAddress=aa:bb:cc:dd:ee:ff 52:54:00:00:00:02\n[Link]\nMTUBytes=1400\n[Network]\nIPv6AcceptRA=no\n"
	addresses := "Address=10.0.0.2/24\n"
	old := "Address=10.0.0.1/24\n"
	dns := "DNS=10.0.0.50\n"
	domains := "Domains=old.example\n"
	oldAddress := "\n[Address]\nAddress=10.0.0.9/24\n"
	oldRoute := "\n[Route]\nDestination=192.0.2.0/24\nGateway=10.0.0.252\n"
	table := "\n[Route]\nGateway=10.0.0.251\nTable=100\n"
	route := "\n[Route]\nDestination=0.0.0.0/0\nGateway=10.0.0.254\n"
	one := []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")}
	for name, test := range map[string]struct {
		addresses []netip.Prefix
		routes    []netid.Route
		dns       *netid.DNS
		want      string
	}{
		"nothing":   {want: head + old + "Gateway=10.0.0.253\n" + dns + domains + oldAddress + oldRoute + table},
		"addresses": {addresses: one, want: networkFileHead + "\n" + head + addresses + "Gateway=10.0.0.253\n" + dns + domains + oldRoute + table},
		"routes": {
			routes: []netid.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.0.254")}},
			want:   networkFileHead + "\n" + head + old + dns + domains + oldAddress + table + route,
		},
		"domains": {
			dns:  &netid.DNS{Search: []string{"new.example"}},
			want: networkFileHead + "\n" + head + old + "Gateway=10.0.0.253\n" + dns + "Domains=new.example\n" + oldAddress + oldRoute + table,
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := withNetworkd(t, fullNetworkFile)
			n := cloneNetwork()
			n.Interfaces[0].Addresses, n.Interfaces[0].Routes, n.DNS = test.addresses, test.routes, test.dns
			twice(t, func() (bool, string, error) { return managerOf(root).configure(n) })
			wantFile(t, filepath.Join(root, movedNetworkFile), test.want, 0o644)
		})
	}
}

func TestNetworkFileHasEachMACSpelling(t *testing.T) {
	for _, old := range []string{"52:54:00:00:AB:01", "52-54-00-00-ab-01", "5254.0000.ab01", "52:54:00:00:ab:01"} {
		f := parseNetworkFile("[Match]\nMACAddress = " + old + "\n[Link]\n# 52:54:00:00:ab:01\n")
		f.renameMAC(net.HardwareAddr{0x52, 0x54, 0, 0, 0xab, 1}, net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2})
		if want := "[Match]\nMACAddress=52:54:00:00:00:02\n[Link]\n# 52:54:00:00:ab:01\n"; f.String() != want {
			t.Errorf("renameMAC of %s: %q, want %q", old, f, want)
		}
	}
}

// Without old_mac the file is of this MAC already.
func TestNetworkFileWithoutOldMACStays(t *testing.T) {
	root := withNetworkd(t, fullNetworkFile)
	n := cloneNetwork()
	n.DNS = nil
	n.Interfaces[0] = netid.Interface{MAC: n.Interfaces[0].OldMAC}
	for range 2 {
		if changed, _, err := managerOf(root).configure(n); changed || err != nil {
			t.Errorf("configure = %t, %v, want no change", changed, err)
		}
	}
	wantFile(t, filepath.Join(root, oldNetworkFile), fullNetworkFile, 0o755)
}

// linked is a manager to which the interface of cloneNetwork is l.
func linked(root string, l netid.Link) *manager {
	m := managerOf(root)
	m.linkOf = func(net.HardwareAddr) (*netid.Link, error) { return &l, nil }
	return m
}

func TestNewNetworkFileHasTheRestOfTheLink(t *testing.T) {
	root := tree(t, map[string]string{
		networkd: "systemd-network\n", "run/systemd/netif/links/2": "DNS=10.0.0.50 10.0.0.51\nDOMAINS=old.example\nNETWORK_FILE=/" + movedNetworkFile + "\n",
	})
	n := cloneNetwork()
	routes := n.Interfaces[0].Routes[:1]
	n.Interfaces[0].Addresses, n.Interfaces[0].Routes, n.DNS = n.Interfaces[0].Addresses[:1], nil, nil
	twice(t, func() (bool, string, error) {
		return linked(root, netid.Link{Name: "eth0", Index: 2, Routes: routes}).configure(n)
	})
	wantFile(t, filepath.Join(root, movedNetworkFile), networkFileHead+"\n[Match]\nMACAddress=52:54:00:00:00:02\n\n[Network]\nAddress=10.0.0.2/24\n"+
		"DNS=10.0.0.50 10.0.0.51\nDomains=old.example\n\n[Route]\nDestination=0.0.0.0/0\nGateway=10.0.0.254\nMetric=100\n", 0o644)
}

// The MAC of a bridge is that of a port: a file with addresses would be for both.
func TestNetworkFileOfAPortGetsNoAddresses(t *testing.T) {
	root := withNetworkd(t, "[Match]\nMACAddress=52:54:00:00:00:01\n[Network]\nBridge=br0\n")
	note := twice(t, func() (bool, string, error) {
		return linked(root, netid.Link{Name: "br0", Master: true}).configure(cloneNetwork())
	})
	if !strings.Contains(note, "br0 has ports: its addresses in files of systemd-networkd stay") {
		t.Errorf("note %q", note)
	}
	wantFile(t, filepath.Join(root, movedNetworkFile), "[Match]\nMACAddress=52:54:00:00:00:02\n[Network]\nBridge=br0\n", 0o644)
}

func TestNetworkFileThatComesFirstIsAnError(t *testing.T) {
	root := withNetworkd(t, "")
	const first = "/etc/systemd/network/05-eth0.network"
	for path, text := range map[string]string{first: "[Match]\nName=eth0\n", "/run/systemd/netif/links/2": "ADMIN_STATE=configured\nNETWORK_FILE=" + first + "\n"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(root+path), 0o755), os.WriteFile(root+path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	_, note, err := linked(root, netid.Link{Name: "eth0", Index: 2}).configure(cloneNetwork())
	want := "systemd-networkd configures eth0 by " + first + ", which comes before /" + movedNetworkFile + ": remove or rename it"
	if err == nil || err.Error() != want {
		t.Errorf("configure: %q, %v, want %s", note, err, want)
	}
	if err := os.WriteFile(root+"/run/systemd/netif/links/2", []byte("NETWORK_FILE=/"+movedNetworkFile+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := linked(root, netid.Link{Name: "eth0", Index: 2}).configure(cloneNetwork()); err != nil {
		t.Errorf("configure: %v", err)
	}
}

func TestResolvConfKeepsTheListNotGiven(t *testing.T) {
	const before = "search old\nnameserver 1.1.1.1\n"
	for want, dns := range map[string]*netid.DNS{
		"nameserver 1.1.1.1\nsearch new\n":   {Search: []string{"new"}},
		"search old\nnameserver 10.0.0.53\n": {Servers: []netip.Addr{netip.MustParseAddr("10.0.0.53")}},
	} {
		root := tree(t, map[string]string{"etc/resolv.conf": before})
		twice(t, func() (bool, string, error) { return managerOf(root).setDNS(&netid.Network{DNS: dns}) })
		wantFile(t, root+"/etc/resolv.conf", want, 0o755)
	}
}

func TestResolvedFileKeepsTheListNotGiven(t *testing.T) {
	root := resolved(t, map[string]string{})
	n := cloneNetwork()
	for _, dns := range []*netid.DNS{n.DNS, {Search: []string{"new"}}} {
		if changed, _, err := managerOf(root).setDNS(&netid.Network{DNS: dns}); !changed || err != nil {
			t.Errorf("setDNS = %t, %v, want a change", changed, err)
		}
	}
	wantFile(t, root+resolvedFile, networkFileHead+"\n[Resolve]\nDNS=10.0.0.53\nDNS=::1\nDomains=new\n", 0o644)
}

// With networkd the file of an earlier run would add its servers to the new ones.
func TestResolvedFileGivesWayToNetworkd(t *testing.T) {
	root := resolved(t, map[string]string{
		networkd: "systemd-network\n", "run/systemd/netif/state": "", resolvedFile: "[Resolve]\nDNS=1.1.1.1\nDomains=old\n",
	})
	n := cloneNetwork()
	m := managerOf(root)
	if _, _, err := m.configure(n); err != nil {
		t.Fatal(err)
	}
	twice(t, func() (bool, string, error) { return m.setDNS(n) })
	if _, err := os.Stat(root + resolvedFile); !os.IsNotExist(err) {
		t.Errorf("the file of resolved: %v, want none", err)
	}
}

func TestResolvConfIsFollowedToResolveds(t *testing.T) {
	root := tree(t, map[string]string{"etc/hosts": ""})
	for link, to := range map[string]string{"/etc/resolv.conf": "/etc/other.conf", "/etc/other.conf": "/run/systemd/resolve/resolv.conf"} {
		if err := os.Symlink(to, root+link); err != nil {
			t.Fatal(err)
		}
	}
	twice(t, func() (bool, string, error) { return managerOf(root).setDNS(cloneNetwork()) })
	if _, err := os.Stat(root + resolvedFile); err != nil {
		t.Error(err)
	}
}

func TestResolvConfInNoDirectoryIsNamed(t *testing.T) {
	root := tree(t, map[string]string{"etc/hosts": ""})
	if err := os.Symlink("../run/none/resolv.conf", root+"/etc/resolv.conf"); err != nil {
		t.Fatal(err)
	}
	_, _, err := managerOf(root).setDNS(cloneNetwork())
	if want := "write " + root + "/run/none/resolv.conf: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("setDNS: %v, want %s", err, want)
	}
}

func TestHostsStaysALinkWithItsOwner(t *testing.T) {
	root := tree(t, map[string]string{"srv/hosts": "127.0.0.1 localhost\n", "etc/passwd": ""})
	if os.Geteuid() == 0 {
		if err := os.Chown(root+"/srv/hosts", 12, 34); err != nil {
			t.Fatal(err)
		}
	}
	before := ownerOf(t, root+"/srv/hosts")
	if err := os.Symlink("../srv/hosts", root+"/etc/hosts"); err != nil {
		t.Fatal(err)
	}
	twice(t, func() (bool, string, error) { return setHosts(root, cloneNetwork().Hosts) })
	if link, err := os.Readlink(root + "/etc/hosts"); link != "../srv/hosts" {
		t.Errorf("the link: %q, %v", link, err)
	}
	wantFile(t, root+"/srv/hosts", "127.0.0.1 localhost\n"+block(cloneNetwork().Hosts), 0o755)
	if after := ownerOf(t, root+"/srv/hosts"); after != before {
		t.Errorf("owner %v, want %v", after, before)
	}
}

// ownerOf returns the user and the group of a file.
func ownerOf(t *testing.T, path string) [2]uint32 {
	t.Helper()
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		t.Fatal(err)
	}
	return [2]uint32{s.Uid, s.Gid}
}

// readOnly calls do on a thread to which a directory is on a read-only file system.
func readOnly(t *testing.T, directory string, do func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	done := make(chan error)
	go func() { // its thread, and the mount namespace, end with it
		runtime.LockOSThread()
		err := errors.Join(
			unix.Unshare(unix.CLONE_NEWNS|unix.CLONE_FS),
			unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
			unix.Mount(directory, directory, "", unix.MS_BIND, ""),
			unix.Mount("", directory, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""),
		)
		if err == nil {
			do()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestReadOnlyNetworkFilesFailTheirSteps(t *testing.T) {
	root := resolved(t, map[string]string{networkd: "systemd-network\n", "run/systemd/netif/state": "", "etc/systemd/network/x": ""})
	plain := tree(t, map[string]string{"etc/resolv.conf": ""})
	n := cloneNetwork()
	readOnly(t, root, func() {
		m := managerOf(root)
		for step, do := range map[string]func() (bool, string, error){
			"manager": func() (bool, string, error) { return m.configure(n) },
			"dns":     func() (bool, string, error) { return m.setDNS(n) },
			"hosts":   func() (bool, string, error) { return setHosts(root, n.Hosts) },
		} {
			if changed, note, err := do(); changed || !errors.Is(classed(err), ErrNotPermitted) {
				t.Errorf("%s = %t, %q, %v, want %v", step, changed, note, err, ErrNotPermitted)
			}
		}
	})
	readOnly(t, plain, func() {
		if changed, note, err := managerOf(plain).setDNS(n); changed || !errors.Is(classed(err), ErrNotPermitted) {
			t.Errorf("setDNS = %t, %q, %v, want %v", changed, note, err, ErrNotPermitted)
		}
	})
}
