package session

import (
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/netid"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Bounds of the network of a reseed (docs/protocol.md, section 3.4).
const (
	maxAddresses = 64 // of an interface
	maxServers   = 8
	maxSearch    = 16
	maxHostNames = 16  // of a line of /etc/hosts
	maxDomain    = 253 // bytes

	defaultNetworkWait = 5 * time.Second
	maxNetworkWait     = time.Minute
)

// malformed is the answer to a request whose field has a value that makes no sense.
func malformed(field string, value any, want string) error {
	if text, ok := value.(string); ok {
		value = fmt.Sprintf("%q", clip(text))
	}
	return fmt.Errorf("%w: network.%s: %v: want %s", errBadRequest, field, value, want)
}

func tooMany(field string, n, most int) error {
	return malformed(field, n, fmt.Sprintf("at most %d", most))
}

// checkNetwork reads the network of a reseed, which may be nil. An error names the field that is
// malformed.
func checkNetwork(m *wire.Network) (*netid.Network, error) {
	switch {
	case m == nil:
		return nil, nil
	case runtime.GOOS != "linux":
		return nil, fmt.Errorf("%w: a network, on %s", errUnsupported, runtime.GOOS)
	case len(m.Interfaces) > wire.MaxInterfaces:
		return nil, tooMany("interfaces", len(m.Interfaces), wire.MaxInterfaces)
	case m.WaitMS != nil && *m.WaitMS > uint64(maxNetworkWait.Milliseconds()):
		return nil, malformed("wait_ms", *m.WaitMS, fmt.Sprintf("at most %d", maxNetworkWait.Milliseconds()))
	}
	n := netid.Network{Wait: defaultNetworkWait}
	if m.WaitMS != nil {
		n.Wait = time.Duration(*m.WaitMS) * time.Millisecond
	}
	for k := range m.Interfaces {
		i, err := parseInterface(&m.Interfaces[k], fmt.Sprintf("interfaces[%d]", k))
		if err != nil {
			return nil, err
		}
		n.Interfaces = append(n.Interfaces, *i)
	}
	if err := checkMACs(n.Interfaces); err != nil {
		return nil, err
	}
	var err error
	if n.DNS, err = parseDNS(m.DNS); err != nil {
		return nil, err
	}
	n.Hosts, err = parseHosts(m.Hosts)
	return &n, err
}

func parseInterface(m *wire.Interface, field string) (*netid.Interface, error) {
	i := netid.Interface{Replaced: m.Replaced}
	var err error
	if i.MAC, err = parseMAC(m.MAC, field+".mac"); err != nil {
		return nil, err
	}
	if i.OldMAC, err = parseMAC(m.OldMAC, field+".old_mac"); err != nil {
		return nil, err
	}
	switch {
	case i.MAC == nil && i.OldMAC == nil:
		return nil, malformed(field+".mac", "", "a MAC, or one in old_mac")
	case i.Replaced && (i.MAC == nil || i.OldMAC == nil):
		return nil, malformed(field+".replaced", true, "both mac and old_mac with it")
	case i.Replaced && slices.Equal(i.MAC, i.OldMAC):
		return nil, malformed(field+".replaced", true, "another mac than old_mac with it")
	case i.MAC == nil:
		i.MAC, i.OldMAC = i.OldMAC, nil
	}
	if i.Addresses, err = parseAddresses(m.Addresses, field+".addresses"); err != nil {
		return nil, err
	}
	i.Routes, err = parseRoutes(m.Routes, field+".routes")
	return &i, err
}

// parseMAC reads the address of one Ethernet interface, or nothing.
func parseMAC(text, field string) (net.HardwareAddr, error) {
	if text == "" {
		return nil, nil
	}
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 || mac[0]&1 != 0 || slices.Equal(mac, make(net.HardwareAddr, 6)) {
		return nil, malformed(field, text, "six bytes such as 52:54:00:00:00:01, not of a group")
	}
	return mac, nil
}

// checkMACs refuses MACs that leave open which interface is meant.
func checkMACs(all []netid.Interface) error {
	for n, i := range all {
		for k, other := range all {
			switch {
			case k < n && slices.Equal(i.MAC, other.MAC):
				return malformed(fmt.Sprintf("interfaces[%d].mac", n), i.MAC.String(), fmt.Sprintf("another one than interfaces[%d]", k))
			case k != n && i.OldMAC != nil && (k < n && slices.Equal(i.OldMAC, other.OldMAC) || slices.Equal(i.OldMAC, other.MAC)):
				return malformed(fmt.Sprintf("interfaces[%d].old_mac", n), i.OldMAC.String(), fmt.Sprintf("none of interfaces[%d]", k))
			}
		}
	}
	return nil
}

func parseAddresses(texts []string, field string) ([]netip.Prefix, error) {
	if len(texts) > maxAddresses {
		return nil, tooMany(field, len(texts), maxAddresses)
	}
	var all []netip.Prefix
	for k, text := range texts {
		p, err := netip.ParsePrefix(text)
		a := p.Addr()
		if err != nil || !ofOneHost(a) || a.IsLoopback() || a.Is6() && a.IsLinkLocalUnicast() || p.Bits() == 0 {
			return nil, malformed(fmt.Sprintf("%s[%d]", field, k), text, "an address of one host with its prefix length, such as 10.0.0.2/24")
		}
		if slices.Contains(all, p) {
			return nil, malformed(fmt.Sprintf("%s[%d]", field, k), text, "each address once")
		}
		all = append(all, p)
	}
	return all, nil
}

// ofOneHost reports whether an address can be one host's.
func ofOneHost(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.Is4In6() && a.Zone() == "" && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func parseRoutes(list []wire.Route, field string) ([]netid.Route, error) {
	if len(list) > wire.MaxRoutes {
		return nil, tooMany(field, len(list), wire.MaxRoutes)
	}
	var all []netid.Route
	for k := range list {
		r, err := parseRoute(&list[k], fmt.Sprintf("%s[%d]", field, k))
		if err != nil {
			return nil, err
		}
		same := func(other netid.Route) bool { return other.To == r.To && other.Metric == r.Metric }
		if slices.ContainsFunc(all, same) {
			return nil, malformed(fmt.Sprintf("%s[%d].to", field, k), list[k].To, "each destination once for a metric")
		}
		all = append(all, r)
	}
	return all, nil
}

func parseRoute(m *wire.Route, field string) (netid.Route, error) {
	r := netid.Route{Metric: m.Metric, OnLink: m.OnLink}
	if m.Via != "" {
		via, err := netip.ParseAddr(m.Via)
		if err != nil || !ofOneHost(via) {
			return r, malformed(field+".via", m.Via, "an address of one host")
		}
		r.Via = via
	}
	switch {
	case m.OnLink && m.Via == "":
		return r, malformed(field+".on_link", true, "a via with it")
	case m.To == "default" && m.Via == "":
		return r, malformed(field+".to", m.To, "a via with it, or 0.0.0.0/0 or ::/0")
	case m.To == "default" && r.Via.Is4():
		r.To = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		return r, nil
	case m.To == "default":
		r.To = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		return r, nil
	}
	to, err := netip.ParsePrefix(m.To)
	if err != nil || to != to.Masked() || to.Addr().Is4In6() {
		return r, malformed(field+".to", m.To, "default, or a network with its prefix length, such as 10.1.0.0/16")
	}
	if r.Via.IsValid() && r.Via.Is4() != to.Addr().Is4() {
		return r, malformed(field+".via", m.Via, "an address of the kind of "+m.To)
	}
	r.To = to
	return r, nil
}

func parseDNS(m *wire.DNS) (*netid.DNS, error) {
	switch {
	case m == nil:
		return nil, nil
	case len(m.Servers) > maxServers:
		return nil, tooMany("dns.servers", len(m.Servers), maxServers)
	case len(m.Search) > maxSearch:
		return nil, tooMany("dns.search", len(m.Search), maxSearch)
	}
	d := netid.DNS{Search: m.Search}
	for k, text := range m.Servers {
		a, err := netip.ParseAddr(text)
		if err != nil || !ofOneHost(a) {
			return nil, malformed(fmt.Sprintf("dns.servers[%d]", k), text, "an address of one host")
		}
		d.Servers = append(d.Servers, a)
	}
	for k, name := range m.Search {
		if !isDomain(name) {
			return nil, malformed(fmt.Sprintf("dns.search[%d]", k), name, "a domain")
		}
	}
	return &d, nil
}

func parseHosts(list []wire.HostEntry) ([]netid.Host, error) {
	if len(list) > wire.MaxHosts {
		return nil, tooMany("hosts", len(list), wire.MaxHosts)
	}
	var all []netid.Host
	for k, m := range list {
		field := fmt.Sprintf("hosts[%d]", k)
		a, err := netip.ParseAddr(m.Address)
		switch {
		case err != nil || a.Zone() != "":
			return nil, malformed(field+".address", m.Address, "an address")
		case len(m.Names) == 0 || len(m.Names) > maxHostNames:
			return nil, malformed(field+".names", len(m.Names), fmt.Sprintf("1 to %d", maxHostNames))
		}
		for n, name := range m.Names {
			if !isDomain(name) {
				return nil, malformed(fmt.Sprintf("%s.names[%d]", field, n), name, "a name of a host")
			}
		}
		all = append(all, netid.Host{Address: a, Names: m.Names})
	}
	return all, nil
}

// isDomain reports whether name is one of letters, digits, hyphens, underscores and dots, which no
// configuration file takes for anything else.
func isDomain(name string) bool {
	strange := func(r rune) bool {
		return r != '-' && r != '_' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}
	return name != "" && len(name) <= maxDomain && !strings.ContainsFunc(name, strange) && name[0] != '-' && name[0] != '.'
}
