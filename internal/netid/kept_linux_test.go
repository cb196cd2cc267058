package netid_test

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/netid"
)

// wantText checks the output of a command for texts, and for one that it is not to have.
func (h *host) wantText(command, gone string, want ...string) {
	h.t.Helper()
	out := h.sh(command)
	for _, text := range want {
		if !strings.Contains(out, text) {
			h.t.Errorf("%s: %q, want %q in it", command, out, text)
		}
	}
	if gone != "" && strings.Contains(out, gone) {
		h.t.Errorf("%s: %q, want no %q in it", command, out, gone)
	}
}

func one(i netid.Interface) netid.Network { return netid.Network{Interfaces: []netid.Interface{i}} }

// addressOnly is clone 2, with one address and no routes.
func addressOnly() netid.Interface {
	i := cloneInterface("2")
	i.Addresses, i.Routes = i.Addresses[:1], nil
	return i
}

// The kernel deletes the other addresses of a subnet with the first one, if it cannot be told otherwise.
func TestAddressesSurviveAReadOnlyProc(t *testing.T) {
	for name, i := range map[string]netid.Interface{"all": cloneInterface("2"), "addresses": addressOnly()} {
		t.Run(name, func(t *testing.T) {
			l := newLAN(t)
			l.one.sh("echo 0 >/proc/sys/net/ipv4/conf/eth0/promote_secondaries")
			if err := unix.Mount("/proc/sys", "/proc/sys", "", unix.MS_BIND, ""); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = unix.Unmount("/proc/sys", unix.MNT_DETACH) }()
			if err := unix.Mount("", "/proc/sys", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
			for _, o := range l.one.apply(one(i), t.TempDir()) {
				if o.Err != nil || strings.Contains(o.Note, "\n") {
					t.Errorf("step %s: %q, %v, want no error, in one line", o.Step, o.Note, o.Err)
				}
			}
			l.one.wantText("ip -4 addr show eth0", "10.0.0.1/", "inet 10.0.0.2/24")
			l.one.wantText("ip route", "", "default via 10.0.0.254", "10.0.0.0/24")
			l.one.wantText("ip -6 addr show eth0", snapshotLink, "fe80::5054:ff:fe00:2/64")
		})
	}
}

func TestPermanentNeighboursStay(t *testing.T) {
	l := newLAN(t)
	l.one.sh("ip neigh add 10.0.0.77 lladdr 52:54:00:00:00:77 dev eth0 nud permanent; ip neigh add 10.0.0.78 lladdr 52:54:00:00:00:78 dev eth0 nud noarp")
	r := l.one.apply(one(cloneInterface("2")), t.TempDir())
	if note := outcome(t, r, "neighbours").Note; note != "2 permanent ones of eth0 set again" {
		t.Errorf("step neighbours: %q", note)
	}
	l.one.wantText("ip neigh show nud all dev eth0", "52:54:00:00:00:99", "10.0.0.77 lladdr 52:54:00:00:00:77 PERMANENT", "10.0.0.78 lladdr 52:54:00:00:00:78 NOARP")
}

// The kernel deletes a route with the address that it names as its source.
func TestRoutesThatStayLoseTheirSource(t *testing.T) {
	l := newLAN(t)
	l.one.sh("ip route replace default via 10.0.0.254 src 10.0.0.1; ip route add 198.51.100.0/24 via 10.0.0.253 src 10.0.0.9 table 100")
	i := addressOnly()
	stop := l.one.watchDefaultRoute()
	r := l.one.apply(one(i), t.TempDir())
	stop()
	o := outcome(t, r, "routes")
	if !o.Changed || o.Err != nil || !strings.Contains(o.Note, "0.0.0.0/0 via 10.0.0.254 without its source 10.0.0.1") {
		t.Errorf("step routes: %+v, want a change and a note", o)
	}
	l.one.wantText("ip route show table all", "src 10.0.0.1 ", "default via 10.0.0.254 dev eth0", "198.51.100.0/24 via 10.0.0.253 dev eth0 table 100")
	wantAll(t, l.one.apply(one(i), t.TempDir()), false, "addresses", "routes", "neighbours")
}

func TestRouteOfTheKernelIsNotAChange(t *testing.T) {
	l := newLAN(t)
	i := cloneInterface("2")
	i.Routes = append(i.Routes, netid.Route{To: netip.MustParsePrefix("2001:db8::/64"), Metric: 256})
	l.one.apply(one(i), t.TempDir())
	l.one.sh("ip neigh add 10.0.0.253 lladdr 52:54:00:00:00:98 dev eth0 nud stale")
	wantAll(t, l.one.apply(one(i), t.TempDir()), false, "routes", "neighbours")
	l.one.wantText("ip neigh", "", "52:54:00:00:00:98")
}

func TestUnusableAddressesAreReplaced(t *testing.T) {
	for name, script := range map[string]string{
		"peer":       "ip addr add 10.0.0.2 peer 10.9.0.1/24 dev eth0",
		"deprecated": "ip addr add 2001:db8::2/64 dev eth0 nodad preferred_lft 0",
		"duplicate":  "ip addr add 2001:db8::2/64 dev eth0",
	} {
		t.Run(name, func(t *testing.T) {
			l := newLAN(t)
			l.peer.sh("ip addr add 2001:db8::2/64 dev eth0 nodad")
			l.one.sh(script)
			if name == "duplicate" {
				eventually(t, "the failed search for duplicates", func() bool { return l.one.has("ip -6 addr show eth0", "dadfailed") })
			}
			r := l.one.apply(one(cloneInterface("2")), t.TempDir())
			wantAll(t, r, true, "addresses")
			l.one.wantText("ip -4 addr show eth0", "peer", "inet 10.0.0.2/24 ")
			l.one.wantText("ip -6 addr show eth0", "deprecated", "inet6 2001:db8::2/64 scope global nodad")
			wantAll(t, l.one.apply(one(cloneInterface("2")), t.TempDir()), false, "addresses")
		})
	}
}

// Some drivers change the MAC only while the interface is down.
func TestMACSetWhileDownKeepsTheRest(t *testing.T) {
	l := newLAN(t)
	l.one.sh("ip route add 198.51.100.0/24 via 10.0.0.253 table 100")
	var r []netid.Outcome
	l.one.in(func() { r = netid.SetMACDown(mac("52:54:00:00:00:02"), mac(snapshotMAC)) })
	wantAll(t, r, false, "addresses", "mac", "routes")
	if note := outcome(t, r, "mac").Note; note != "eth0 was down for a moment, as its driver wants" {
		t.Errorf("step mac: note %q", note)
	}
	l.one.wantText("ip addr show eth0", "", "52:54:00:00:00:02", ",UP", "10.0.0.1/24", "10.0.0.9/24", "2001:db8::1/64")
	l.one.wantText("ip route show table all", "", "default via 10.0.0.254", "192.0.2.0/24 via 10.0.0.253",
		"198.51.100.0/24 via 10.0.0.253 dev eth0 table 100", "default via 2001:db8::254")
}

func TestInterfaceThatIsDownGetsItsMAC(t *testing.T) {
	l := newLAN(t)
	l.one.sh("ip link set eth0 down")
	wantAll(t, l.one.apply(one(cloneInterface("2")), t.TempDir()), true, "interfaces", "addresses", "mac", "routes")
	l.one.wantClone("2")
}
