package netid

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// allRoutesOf returns the routes of all tables over an interface that somebody has set. The kernel deletes
// them with the last address of their kind, and when the interface goes down.
func (id *identity) allRoutesOf(l *link) []rtnetlink.RouteMessage {
	all, err := id.conn.Route.List()
	if err != nil {
		id.fail("routes", fmt.Errorf("routes of %s: %w", l.name, cause(err)))
	}
	return slices.DeleteFunc(eachHop(all), func(m rtnetlink.RouteMessage) bool { return !isSet(&m) || !isOver(&m, l) })
}

func isOver(m *rtnetlink.RouteMessage, l *link) bool {
	return m.Attributes.OutIface == l.index ||
		slices.ContainsFunc(m.Attributes.Multipath, func(hop rtnetlink.NextHop) bool { return hop.Hop.IfIndex == l.index })
}

// createRoute adds a route that was listed.
func (id *identity) createRoute(m rtnetlink.RouteMessage, flags netlink.HeaderFlags) error {
	m.Flags &= unix.RTNH_F_ONLINK // others are the kernel's
	m.Attributes.Multipath = slices.Clone(m.Attributes.Multipath)
	for n := range m.Attributes.Multipath {
		m.Attributes.Multipath[n].Hop.Flags &= unix.RTNH_F_ONLINK
	}
	_, err := id.conn.Execute(&m, unix.RTM_NEWROUTE, netlink.Request|netlink.Acknowledge|netlink.Create|flags)
	return cause(err)
}

// freeRoutes adds the IPv4 routes that name a source address which is about to go, without it: the kernel deletes
// them with the address. That concerns routes that stay, over any interface and in any table.
func (id *identity) freeRoutes(i *Interface, l *link) {
	gone := id.goneAddresses(i, l)
	if len(gone) == 0 {
		return
	}
	all, err := id.conn.Route.List()
	id.fail("routes", cause(err))
	for _, m := range all {
		src, _ := netip.AddrFromSlice(m.Attributes.Src)
		given := len(i.Routes) > 0 && m.Table == unix.RT_TABLE_MAIN && m.Attributes.OutIface == l.index
		if m.Family != unix.AF_INET || !isSet(&m) || !slices.Contains(gone, src) || given {
			continue
		}
		r, _ := routeOf(&m)
		m.Attributes.Src = nil
		if err := id.createRoute(m, 0); err != nil && !errors.Is(err, unix.EEXIST) {
			id.fail("routes", fmt.Errorf("%s: add %s without its source %s: %w", l.name, r, src, err))
			continue
		}
		l.renewed = true
		id.changed["routes"] = true
		id.note("routes", fmt.Sprintf("%s without its source %s", r, src))
	}
}

// goneAddresses returns the IPv4 addresses of an interface that are not wanted.
func (id *identity) goneAddresses(i *Interface, l *link) (gone []netip.Addr) {
	if len(i.Addresses) == 0 {
		return nil
	}
	has, _ := id.addressesOf(l) // dropAddresses reports the error
	for _, m := range has {
		a := prefixOf(&m).Addr()
		stays := slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool { return p.Addr() == a })
		if a.Is4() && !stays {
			gone = append(gone, a)
		}
	}
	return gone
}

// restoreRoutes adds the routes that the kernel has deleted though they were to stay: all that were there
// if the network names none, and those of other tables else.
func (id *identity) restoreRoutes(i *Interface, l *link, before []rtnetlink.RouteMessage) {
	gone := id.goneSources(l)
	now := id.allRoutesOf(l)
	for _, m := range before {
		if len(i.Routes) > 0 && m.Table == unix.RT_TABLE_MAIN || slices.ContainsFunc(now, alike(m)) {
			continue
		}
		if src, ok := netip.AddrFromSlice(m.Attributes.Src); ok && gone(src) {
			m.Attributes.Src = nil
		}
		err := id.createRoute(m, netlink.Excl)
		switch {
		case errors.Is(err, unix.EEXIST):
		case err != nil:
			r, _ := routeOf(&m)
			id.fail("routes", fmt.Errorf("%s: add %s again: %w", l.name, r, err))
		default:
			l.renewed = true
			id.changed["routes"] = true
		}
	}
}

// alike returns a function that reports whether a route is m, but for its source.
func alike(m rtnetlink.RouteMessage) func(rtnetlink.RouteMessage) bool {
	r, _ := routeOf(&m)
	return func(other rtnetlink.RouteMessage) bool {
		o, _ := routeOf(&other)
		return o == r && other.Attributes.Table == m.Attributes.Table && other.Type == m.Type && other.Attributes.OutIface == m.Attributes.OutIface
	}
}

// goneSources reports of an address whether no interface has it now.
func (id *identity) goneSources(l *link) func(netip.Addr) bool {
	has, err := id.conn.Address.List()
	if err != nil {
		id.fail("routes", fmt.Errorf("addresses beside %s: %w", l.name, cause(err)))
	}
	return func(a netip.Addr) bool {
		return !slices.ContainsFunc(has, func(m rtnetlink.AddressMessage) bool { return prefixOf(&m).Addr() == a })
	}
}
