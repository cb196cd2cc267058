package netid_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/netid"
)

// All clones wake with these.
const (
	snapshotMAC  = "52:54:00:00:00:01"
	snapshotLink = "fe80::5054:ff:fe00:1"
	snapshot     = `
		ip link set eth0 address ` + snapshotMAC + ` up
		ip addr add 10.0.0.1/24 dev eth0
		ip addr add 10.0.0.9/24 dev eth0
		ip addr add 2001:db8::1/64 dev eth0 nodad
		ip route add default via 10.0.0.254
		ip route add 192.0.2.0/24 via 10.0.0.253
		ip -6 route add default via 2001:db8::254
		ip neigh add 10.0.0.253 lladdr 52:54:00:00:00:99 dev eth0 nud stale
	`
)

func mac(text string) net.HardwareAddr {
	m, err := net.ParseMAC(text)
	if err != nil {
		panic(err)
	}
	return m
}

// cloneInterface is the interface of clone number n, 2 to 9.
func cloneInterface(n string) netid.Interface {
	return netid.Interface{
		MAC: mac("52:54:00:00:00:0" + n), OldMAC: mac(snapshotMAC),
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0." + n + "/24"), netip.MustParsePrefix("2001:db8::" + n + "/64")},
		Routes: []netid.Route{
			{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.0.254")},
			{To: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("2001:db8::254")},
		},
	}
}

// apply gives a host a network, with the directory sys in the place of sysfs.
func (h *host) apply(n netid.Network, sys string) []netid.Outcome {
	var r []netid.Outcome
	received := time.Now()
	h.in(func() { r = netid.Apply(&n, sys, received) })
	return r
}

// outcome returns what has become of a step.
func outcome(t *testing.T, r []netid.Outcome, step string) netid.Outcome {
	t.Helper()
	for _, o := range r {
		if o.Step == step {
			return o
		}
	}
	t.Fatalf("no step %q in %+v", step, r)
	return netid.Outcome{}
}

// wantAll checks that each step has succeeded, and has changed something or not.
func wantAll(t *testing.T, r []netid.Outcome, changed bool, steps ...string) {
	t.Helper()
	for _, step := range steps {
		if o := outcome(t, r, step); o.Changed != changed || o.Err != nil {
			t.Errorf("step %s: changed %t, note %q, %v, want changed %t", step, o.Changed, o.Note, o.Err, changed)
		}
	}
}

// A lan is two clones of one snapshot and a peer, on one bridge.
type lan struct{ peer, one, other *host }

func newLAN(t *testing.T) lan {
	t.Helper()
	bridge := newHost(t)
	l := lan{newHost(t), newHost(t), newHost(t)}
	bridge.sh("ip link add br0 type bridge && ip link set br0 up")
	for name, h := range map[string]*host{"peer": l.peer, "one": l.one, "other": l.other} {
		h.plug("eth0", bridge, name)
		bridge.sh("ip link set " + name + " master br0 up")
	}
	l.peer.sh(`
		ip link set eth0 address 52:54:00:00:00:fe up
		ip addr add 10.0.0.254/24 dev eth0
		ip addr add 2001:db8::254/64 dev eth0 nodad
	`)
	for n := range "23" {
		l.peer.sh(strings.ReplaceAll(`
			ip neigh add 10.0.0.N lladdr 52:54:00:00:00:99 dev eth0 nud stale
			ip neigh add 2001:db8::N lladdr 52:54:00:00:00:99 dev eth0 nud stale
		`, "N", "23"[n:n+1]))
	}
	l.one.sh(snapshot)
	l.other.sh(snapshot)
	return l
}

func TestClonesGetIdentitiesOfTheirOwn(t *testing.T) {
	l := newLAN(t)
	for n, h := range map[string]*host{"2": l.one, "3": l.other} {
		eventually(t, "link-local address of the snapshot", func() bool { return h.has("ip -6 addr show eth0", snapshotLink+"/64") })
		stop := h.watchDefaultRoute()
		r := h.apply(netid.Network{Interfaces: []netid.Interface{cloneInterface(n)}}, t.TempDir())
		stop()
		wantAll(t, r, true, "addresses", "mac", "routes", "neighbours")
		wantAll(t, r, false, "interfaces")
		t.Logf("addresses: %s", outcome(t, r, "addresses").Note)
		h.wantClone(n)
		// Neighbours know of the clone by its own announcements: nobody has asked.
		for _, address := range []string{"10.0.0." + n, "2001:db8::" + n} {
			eventually(t, "the peer's entry of "+address, func() bool {
				return l.peer.has("ip neigh show "+address, "52:54:00:00:00:0"+n)
			})
		}
	}
	l.peer.connects(l.one, "10.0.0.2")
	l.peer.connects(l.other, "10.0.0.3")
	l.peer.connects(l.other, "2001:db8::3")
}

// wantClone checks the whole state of clone n, and that nothing of it changes a second time.
func (h *host) wantClone(n string) {
	h.t.Helper()
	for command, want := range map[string][]string{
		"ip link show eth0":        {"link/ether 52:54:00:00:00:0" + n + " "},
		"ip -4 addr show eth0":     {"inet 10.0.0." + n + "/24 "},
		"ip -6 addr show eth0":     {"inet6 2001:db8::" + n + "/64 ", "inet6 fe80::5054:ff:fe00:" + n + "/64 "},
		"ip -4 route show":         {"default via 10.0.0.254 dev eth0 "},
		"ip -6 route show default": {"default via 2001:db8::254 dev eth0 "},
	} {
		for _, text := range want {
			if out := h.sh(command); !strings.Contains(out, text) {
				h.t.Errorf("%s: %q, want %q in it", command, out, text)
			}
		}
	}
	for command, gone := range map[string]string{
		"ip addr show eth0":        snapshotLink + "/",
		"ip -6 addr show eth0":     "2001:db8::1/",
		"ip -4 addr show dev eth0": "10.0.0.1/",
		"ip -4 addr show eth0":     "10.0.0.9/",
		"ip route show table all":  "192.0.2.0/24",
		"ip neigh show dev eth0":   "52:54:00:00:00:99",
		"cat /proc/sys/net/ipv4/conf/eth0/arp_notify /proc/sys/net/ipv4/conf/eth0/promote_secondaries": "1",
	} {
		if out := h.sh(command); strings.Contains(out, gone) {
			h.t.Errorf("%s: %q, want no %q in it", command, out, gone)
		}
	}
	r := h.apply(netid.Network{Interfaces: []netid.Interface{cloneInterface(n)}}, h.t.TempDir())
	wantAll(h.t, r, false, "interfaces", "addresses", "mac", "routes", "neighbours")
}

// watchDefaultRoute looks up a route to elsewhere again and again, until stop is called.
func (h *host) watchDefaultRoute() (stop func()) {
	h.t.Helper()
	var ended atomic.Bool
	looked, failed := 0, error(nil)
	began, done := make(chan struct{}), make(chan struct{})
	beside := h.beside()
	go func() { // ends by stop
		defer close(done)
		beside.in(func() {
			conn, err := rtnetlink.Dial(nil)
			close(began)
			if err != nil {
				failed = err
				return
			}
			defer conn.Close()
			for !ended.Load() && failed == nil {
				to := rtnetlink.RouteMessage{Family: unix.AF_INET, Attributes: rtnetlink.RouteAttributes{Dst: net.IPv4(198, 51, 100, 1)}}
				if looked%2 == 1 {
					to.Family, to.Attributes.Dst = unix.AF_INET6, net.ParseIP("2001:db8:7::1")
				}
				_, failed = conn.Route.Get(&to)
				looked++
			}
		})
	}()
	<-began
	return func() {
		h.t.Helper()
		ended.Store(true)
		<-done
		if failed != nil || looked == 0 {
			h.t.Errorf("route to another network, look-up %d: %v", looked, failed)
		}
		h.t.Logf("%d look-ups of a route", looked)
	}
}

// connects makes a TCP connection from h to an address of another host.
func (h *host) connects(to *host, address string) {
	h.t.Helper()
	var l net.Listener
	var err error
	to.in(func() { l, err = net.Listen("tcp", net.JoinHostPort(address, "0")) })
	if err != nil {
		h.t.Errorf("listen on %s: %v", address, err)
		return
	}
	defer l.Close()
	h.in(func() {
		var c net.Conn
		if c, err = net.DialTimeout("tcp", l.Addr().String(), patience); err == nil {
			_ = c.Close()
		}
	})
	if err != nil {
		h.t.Error(err)
	}
}

// A route may name the source address that goes. With many other addresses that takes longer than a
// look-up.
func TestDefaultRouteSurvivesItsSource(t *testing.T) {
	l := newLAN(t)
	l.one.sh(`
		ip route replace default via 10.0.0.254 src 10.0.0.1
		for i in $(seq 250); do echo addr add 10.2.0.$i/32 dev eth0; done | ip -batch -
	`)
	stop := l.one.watchDefaultRoute()
	r := l.one.apply(netid.Network{Interfaces: []netid.Interface{cloneInterface("2")}}, t.TempDir())
	stop()
	wantAll(t, r, true, "addresses", "mac", "routes")
	l.one.wantClone("2")
}

func TestAnotherGatewayTakesTheRouteOver(t *testing.T) {
	l := newLAN(t)
	i := cloneInterface("2")
	i.Addresses = []netip.Prefix{netip.MustParsePrefix("10.7.0.2/32"), netip.MustParsePrefix("2001:db8::2/64")}
	i.Routes = []netid.Route{
		{To: netip.MustParsePrefix("169.254.0.1/32")},
		{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("169.254.0.1")},
		{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("203.0.113.1"), Metric: 50, OnLink: true},
		{To: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("2001:db8::253")},
	}
	for n, changed := range []bool{true, false} {
		stop := l.one.watchDefaultRoute()
		r := l.one.apply(netid.Network{Interfaces: []netid.Interface{i}}, t.TempDir())
		stop()
		wantAll(t, r, changed, "addresses", "mac", "routes")
		want := "default via 169.254.0.1 dev eth0 proto static \n" +
			"default via 203.0.113.1 dev eth0 proto static metric 50 onlink \n" +
			"169.254.0.1 dev eth0 proto static scope link \n"
		if got := l.one.sh("ip -4 route show"); got != want {
			t.Errorf("%d: routes %q, want %q", n, got, want)
		}
		want = "default via 2001:db8::253 dev eth0 proto static metric 1024 pref medium\n"
		if got := l.one.sh("ip -6 route show default"); got != want {
			t.Errorf("%d: IPv6 routes %q, want %q", n, got, want)
		}
	}
}

// The VMM has given the device its MAC, or the clone keeps it.
func TestNewAddressIsAnnouncedUnderTheSameMAC(t *testing.T) {
	l := newLAN(t)
	i := cloneInterface("2")
	i.MAC, i.OldMAC = i.OldMAC, nil
	r := l.one.apply(netid.Network{Interfaces: []netid.Interface{i}}, t.TempDir())
	wantAll(t, r, true, "addresses", "routes", "neighbours")
	wantAll(t, r, false, "mac")
	for _, address := range []string{"10.0.0.2", "2001:db8::2"} {
		eventually(t, "the peer's entry of "+address, func() bool { return l.peer.has("ip neigh show "+address, snapshotMAC) })
	}
}

func TestFailedStepsKeepNoOtherFromBeingTaken(t *testing.T) {
	l := newLAN(t)
	l.one.sh("echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6")
	i := cloneInterface("2")
	i.Routes = append(i.Routes, netid.Route{To: netip.MustParsePrefix("192.0.2.0/24"), Via: netip.MustParseAddr("203.0.113.1")})
	missing := netid.Interface{MAC: mac("52:54:00:00:00:77")}
	r := l.one.apply(netid.Network{Interfaces: []netid.Interface{missing, i}}, t.TempDir())
	for step, want := range map[string]string{
		"interfaces": "no such interface with the MAC 52:54:00:00:00:77 within 0s",
		"addresses":  "eth0: add 2001:db8::2/64: ",
		"routes":     "eth0: add 192.0.2.0/24 via 203.0.113.1: network is unreachable: Nexthop has invalid gateway",
	} {
		if o := outcome(t, r, step); o.Err == nil || strings.Count(o.Err.Error(), want) != 1 {
			t.Errorf("step %s: %v, want %q in it once", step, o.Err, want)
		}
	}
	if err := outcome(t, r, "interfaces").Err; !errors.Is(err, netid.ErrNotFound) {
		t.Errorf("step interfaces: %v, want %v", err, netid.ErrNotFound)
	}
	wantAll(t, r, true, "mac", "neighbours")
	for command, want := range map[string]string{
		"ip -4 addr show eth0": "inet 10.0.0.2/24 ", "ip -4 route show": "default via 10.0.0.254 ", "ip link show eth0": "52:54:00:00:00:02",
	} {
		if out := l.one.sh(command); !strings.Contains(out, want) {
			t.Errorf("%s: %q, want %q in it", command, out, want)
		}
	}
}

func TestMACThatStaysFailsItsStepAlone(t *testing.T) {
	l := newLAN(t)
	i := cloneInterface("2")
	i.MAC = mac("53:54:00:00:00:02") // of a group: the kernel refuses it
	r := l.one.apply(netid.Network{Interfaces: []netid.Interface{i}}, t.TempDir())
	if o := outcome(t, r, "mac"); o.Changed || o.Err == nil || o.Err.Error() != "eth0: set 53:54:00:00:00:02: cannot assign requested address" {
		t.Errorf("step mac: %+v, want an error", o)
	}
	wantAll(t, r, true, "addresses", "routes", "neighbours")
}

func TestWithoutThePrivilegeStepsAreRefused(t *testing.T) {
	l := newLAN(t)
	l.one.in(func() { // this thread alone
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if err := unix.Capset(&header, &none[0]); err != nil {
			t.Error(err)
		}
	})
	r := l.one.apply(netid.Network{Interfaces: []netid.Interface{cloneInterface("2")}}, t.TempDir())
	for _, step := range []string{"addresses", "mac", "routes"} {
		if o := outcome(t, r, step); !errors.Is(o.Err, os.ErrPermission) || o.Changed {
			t.Errorf("step %s: %+v, want %v", step, o, os.ErrPermission)
		}
	}
}

// The interface that is there does not wait for the one that is not.
func TestInterfaceThatComesLaterIsConfigured(t *testing.T) {
	l := newLAN(t)
	later := netid.Interface{MAC: mac("52:54:00:00:00:03"), Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.3/24")}}
	beside := l.one.beside()
	done := make(chan []netid.Outcome)
	go func() { // ends by the interface that comes
		done <- l.one.apply(netid.Network{Interfaces: []netid.Interface{later, cloneInterface("2")}, Wait: patience}, t.TempDir())
	}()
	eventually(t, "the first interface", func() bool { return beside.has("ip addr show eth0", "10.0.0.2/24") })
	beside.plug("eth1", l.peer, "eth1")
	beside.sh("ip link set eth1 address 52:54:00:00:00:03")
	r := <-done
	wantAll(t, r, true, "interfaces", "addresses", "mac", "routes")
	if out := l.one.sh("ip addr show eth1"); !strings.Contains(out, "UP") || !strings.Contains(out, "10.1.0.3/24") {
		t.Errorf("eth1: %s, want it up with its address", out)
	}
}
