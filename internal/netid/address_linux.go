package netid

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func (id *identity) addressesOf(l *link) ([]rtnetlink.AddressMessage, error) {
	all, err := id.conn.Address.List()
	if err != nil {
		return nil, fmt.Errorf("addresses of %s: %w", l.name, cause(err))
	}
	return slices.DeleteFunc(all, func(a rtnetlink.AddressMessage) bool { return a.Index != l.index }), nil
}

// prefixOf returns the address of m, with its prefix length.
func prefixOf(m *rtnetlink.AddressMessage) netip.Prefix {
	ip := m.Attributes.Local
	if ip == nil { // IPv6, unless it is a point-to-point link
		ip = m.Attributes.Address
	}
	addr, _ := netip.AddrFromSlice(ip)
	return netip.PrefixFrom(addr.Unmap(), int(m.PrefixLength))
}

// flagsOf are the flags of an address. The kernel sends the low eight twice.
func flagsOf(m *rtnetlink.AddressMessage) uint32 { return m.Attributes.Flags | uint32(m.Flags) }

// addAddresses adds the addresses that the interface lacks. One that has a lifetime gets none.
func (id *identity) addAddresses(i *Interface, l *link) {
	if len(i.Addresses) == 0 {
		return
	}
	has, err := id.addressesOf(l)
	id.fail("addresses", err)
	for _, p := range i.Addresses {
		same := slices.DeleteFunc(slices.Clone(has), func(m rtnetlink.AddressMessage) bool { return prefixOf(&m) != p })
		if slices.ContainsFunc(same, isUsable) {
			continue
		}
		id.dropUnusable(l, same)
		if err := id.addAddress(l, p, unix.RT_SCOPE_UNIVERSE); err != nil {
			id.fail("addresses", fmt.Errorf("%s: add %s: %w", l.name, p, err))
			continue
		}
		l.renewed = true
		id.changed["addresses"] = true
	}
}

// isUsable reports whether an address is as addAddress adds it.
func isUsable(m rtnetlink.AddressMessage) bool {
	const bad = unix.IFA_F_DEPRECATED | unix.IFA_F_DADFAILED
	return flagsOf(&m)&unix.IFA_F_PERMANENT != 0 && flagsOf(&m)&bad == 0 && !isTentative(&m) && !hasPeer(&m)
}

// isTentative reports whether duplicates of an address are looked for. For a moment old kernels have that flag
// in one without a search, too.
func isTentative(m *rtnetlink.AddressMessage) bool {
	return flagsOf(m)&(unix.IFA_F_TENTATIVE|unix.IFA_F_NODAD) == unix.IFA_F_TENTATIVE
}

// hasPeer reports whether an address is of a point-to-point link.
func hasPeer(m *rtnetlink.AddressMessage) bool {
	a := m.Attributes
	return a.Local != nil && !a.Local.Equal(a.Address)
}

// dropUnusable deletes those addresses that cannot be made usable. A lifetime can be changed.
func (id *identity) dropUnusable(l *link, all []rtnetlink.AddressMessage) {
	for _, m := range all {
		if flagsOf(&m)&unix.IFA_F_DADFAILED == 0 && !isTentative(&m) && !hasPeer(&m) {
			continue
		}
		if err := id.deleteAddress(&m); err != nil {
			id.fail("addresses", fmt.Errorf("%s: delete %s: %w", l.name, prefixOf(&m), err))
		}
	}
}

// addAddress adds an address. Nobody else has it, so that an IPv6 one is of use at once, without
// a search for duplicates. An IPv4 one gets no broadcast address: the kernel has its route anyway, and
// systemd-networkd would take the address for another one, delete it and add it again.
func (id *identity) addAddress(l *link, p netip.Prefix, scope uint8) error {
	ip := net.IP(p.Addr().AsSlice())
	m := rtnetlink.AddressMessage{
		Family: family(p.Addr()), PrefixLength: uint8(p.Bits()), Index: l.index, Scope: scope,
		Attributes: &rtnetlink.AddressAttributes{Address: ip, Local: ip},
	}
	if p.Addr().Is6() {
		m.Attributes.Flags = unix.IFA_F_NODAD
	}
	_, err := id.conn.Execute(&m, unix.RTM_NEWADDR, netlink.Request|netlink.Acknowledge|netlink.Create|netlink.Replace)
	return cause(err)
}

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// dropAddresses deletes the addresses that are not wanted.
func (id *identity) dropAddresses(i *Interface, l *link) {
	if len(i.Addresses) == 0 {
		id.note("addresses", l.name+": none given, all kept")
		return
	}
	has, err := id.addressesOf(l)
	id.fail("addresses", err)
	dropped := false
	for _, m := range has {
		p := prefixOf(&m)
		if slices.Contains(i.Addresses, p) || isAutomatic(i, l, &m) {
			continue
		}
		if err := id.deleteAddress(&m); err != nil {
			id.fail("addresses", fmt.Errorf("%s: delete %s: %w", l.name, p, err))
			continue
		}
		dropped = true
	}
	if dropped {
		l.renewed = true
		id.changed["addresses"] = true
		id.noteGone(l)
	}
}

// noteGone notes how long after the request the old addresses of an interface have gone.
func (id *identity) noteGone(l *link) {
	id.note("addresses", fmt.Sprintf("old ones of %s gone %v after the request", l.name, time.Since(id.received).Round(10*time.Microsecond)))
}

// isAutomatic reports whether the kernel has made an address, and for this clone alone as far as one
// can know: a link-local one, which is renewLinkLocal's, or one from a router's announcement.
func isAutomatic(i *Interface, l *link, m *rtnetlink.AddressMessage) bool {
	a := prefixOf(m).Addr()
	switch {
	case !a.Is6() || flagsOf(m)&unix.IFA_F_PERMANENT != 0 && !a.IsLinkLocalUnicast():
		return false
	case a.IsLinkLocalUnicast():
		return true
	default:
		return !l.renewed || hasHost(a, eui64(i.MAC))
	}
}

func (id *identity) deleteAddress(m *rtnetlink.AddressMessage) error {
	return ignoring(cause(id.conn.Address.Delete(m)), unix.EADDRNOTAVAIL)
}
