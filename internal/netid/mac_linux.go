package netid

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// setMACWhileDown sets the MAC of an interface that is down: some drivers refuse it later. setMAC
// reports a failure.
func (id *identity) setMACWhileDown(i *Interface, l *link) {
	if l.up || !l.renewed || id.setAddress(l, i.MAC) != nil {
		return
	}
	l.mac = i.MAC
	id.changed["mac"] = true
}

func (id *identity) setAddress(l *link, mac net.HardwareAddr) error {
	return cause(id.conn.Link.Set(&rtnetlink.LinkMessage{Index: l.index, Attributes: &rtnetlink.LinkAttributes{Address: mac}}))
}

// setMAC gives the interface its MAC while it is up: it would lose its IPv6 addresses and its
// routes otherwise. If the MAC stays and an address is new, the same one is set again. Either
// has the kernel tell neighbours of all addresses.
func (id *identity) setMAC(i *Interface, l *link) {
	id.setPorts(i, l)
	differs := !bytes.Equal(l.mac, i.MAC)
	if differs || l.renewed {
		err := id.setAddress(l, i.MAC)
		if differs && errors.Is(err, unix.EBUSY) {
			err = id.setMACDown(i, l)
		}
		switch {
		case err != nil && differs:
			id.fail("mac", fmt.Errorf("%s: set %s: %w", l.name, i.MAC, err))
			return // its link-local address is still its own
		case err != nil:
			id.note("mac", fmt.Sprintf("%s: neighbours are not told of new addresses: %v", l.name, err))
		}
		id.changed["mac"] = id.changed["mac"] || differs
	}
	if err := id.renewLinkLocal(i, l); err != nil {
		id.fail("mac", fmt.Errorf("%s: IPv6 link-local address: %w", l.name, err))
	}
}

// setPorts gives the ports of a bridge its MAC if they have its old one.
func (id *identity) setPorts(i *Interface, l *link) {
	for _, port := range l.ports {
		if err := id.setAddress(&port, i.MAC); err != nil {
			id.fail("mac", fmt.Errorf("%s, a port of %s: set %s: %w", port.name, l.name, i.MAC, err))
			continue
		}
		id.changed["mac"] = true
		id.note("mac", fmt.Sprintf("%s, a port of %s, has %s", port.name, l.name, i.MAC))
		if err := id.renewLinkLocal(i, &port); err != nil {
			id.fail("mac", fmt.Errorf("%s: IPv6 link-local address: %w", port.name, err))
		}
	}
}

// setMACDown takes the interface down, sets its MAC, and brings it up again: its driver refuses that while
// it is up. The addresses and routes that it loses are added again.
func (id *identity) setMACDown(i *Interface, l *link) error {
	routes := id.allRoutesOf(l)
	addresses, err := id.addressesOf(l)
	if err != nil {
		return err
	}
	if err := id.setFlags(l, 0); err != nil {
		return err
	}
	setErr := id.setAddress(l, i.MAC)
	if err := id.setFlags(l, unix.IFF_UP); err != nil {
		return fmt.Errorf("bring it up again: %w", err)
	}
	id.note("mac", l.name+" was down for a moment, as its driver wants")
	for _, m := range addresses {
		p := prefixOf(&m)
		if p.Addr().Is4() || p.Addr().IsLinkLocalUnicast() || flagsOf(&m)&unix.IFA_F_PERMANENT == 0 {
			continue // IPv4 addresses stay, and the others are renewed
		}
		if err := id.addAddress(l, p, m.Scope); err != nil {
			id.fail("addresses", fmt.Errorf("%s: add %s again: %w", l.name, p, err))
		}
	}
	for _, m := range routes {
		if err := ignoring(id.createRoute(m, netlink.Excl), unix.EEXIST); err != nil {
			r, _ := routeOf(&m)
			id.fail("routes", fmt.Errorf("%s: add %s again: %w", l.name, r, err))
		}
	}
	return setErr
}

// renewLinkLocal deletes the IPv6 addresses that the kernel has made from another MAC, which
// clones have in common, and has it make a link-local one.
func (id *identity) renewLinkLocal(i *Interface, l *link) error {
	if off, _ := readSysctl("ipv6", l, "disable_ipv6"); off != "0" { // or the kernel has no IPv6
		return nil
	}
	has, err := id.addressesOf(l)
	if err != nil {
		return err
	}
	wanted := eui64(i.MAC)
	gone, there, other := false, false, false
	for _, m := range has {
		a := prefixOf(&m).Addr()
		local := a.Is6() && a.IsLinkLocalUnicast()
		switch {
		case a == wanted:
			there = true
		case a.Is6() && fromMAC(a) && !hasHost(a, wanted) && (local || flagsOf(&m)&unix.IFA_F_PERMANENT == 0):
			if err := id.deleteAddress(&m); err != nil {
				return err
			}
			gone = gone || local
			id.changed["mac"] = true
		case local:
			other = true
		}
	}
	if there || other && !gone {
		return nil
	}
	return id.makeLinkLocal(l, wanted, gone)
}

// makeLinkLocal has the kernel make the link-local address, by setting the mode in which it does
// so anew. In another mode that is the administrator's, and one that was there is replaced.
func (id *identity) makeLinkLocal(l *link, wanted netip.Addr, gone bool) error {
	mode, err := readSysctl("ipv6", l, "addr_gen_mode")
	switch {
	case err != nil:
		return err
	case mode != "0" && !gone:
		return nil
	case mode != "0":
		err = id.addAddress(l, netip.PrefixFrom(wanted, 64), unix.RT_SCOPE_LINK)
	default:
		err = writeSysctl("ipv6", l, "addr_gen_mode", "1")
		if err == nil {
			err = writeSysctl("ipv6", l, "addr_gen_mode", "0")
		} else { // /proc/sys may be read-only
			err = id.addAddress(l, netip.PrefixFrom(wanted, 64), unix.RT_SCOPE_LINK)
		}
	}
	if err != nil {
		return err
	}
	has, err := id.addressesOf(l)
	for _, m := range has {
		id.changed["mac"] = id.changed["mac"] || prefixOf(&m).Addr() == wanted
	}
	return err
}

// eui64 returns the link-local address that the kernel makes from a MAC: RFC 4291, appendix A.
func eui64(mac net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{
		0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5],
	})
}

// fromMAC reports whether an IPv6 address has the form of one that was made from a MAC.
func fromMAC(a netip.Addr) bool {
	b := a.As16()
	return b[11] == 0xff && b[12] == 0xfe
}

// hasHost reports whether the lower halves of two addresses are the same.
func hasHost(a, b netip.Addr) bool {
	x, y := a.As16(), b.As16()
	return [8]byte(x[8:]) == [8]byte(y[8:])
}
