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

// defaultMetric6 is the metric of an IPv6 route that is given none.
const defaultMetric6 = 1024

// routesOf returns the routes of the table main over an interface that somebody has set: not those of the
// kernel for its addresses, nor those of IPv6 routers' announcements.
func (id *identity) routesOf(l *link) ([]rtnetlink.RouteMessage, error) {
	all, err := id.conn.Route.List()
	if err != nil {
		return nil, fmt.Errorf("routes of %s: %w", l.name, cause(err))
	}
	return slices.DeleteFunc(eachHop(all), func(m rtnetlink.RouteMessage) bool {
		return m.Attributes.OutIface != l.index || m.Table != unix.RT_TABLE_MAIN || m.Type != unix.RTN_UNICAST || !isSet(&m)
	}), nil
}

// isSet reports whether somebody has set a route: not the kernel, nor an IPv6 router.
func isSet(m *rtnetlink.RouteMessage) bool {
	return m.Protocol != unix.RTPROT_KERNEL && m.Protocol != unix.RTPROT_RA && m.Protocol != unix.RTPROT_REDIRECT
}

// eachHop returns routes with one hop each. IPv6 routes to one destination that differ in the gateway alone
// are told as one. IPv4 knows such routes, too, but those have been set as one, and stay.
func eachHop(all []rtnetlink.RouteMessage) []rtnetlink.RouteMessage {
	var single []rtnetlink.RouteMessage
	for _, m := range all {
		hops := m.Attributes.Multipath
		if m.Family != unix.AF_INET6 || len(hops) == 0 {
			single = append(single, m)
			continue
		}
		m.Attributes.Multipath = nil
		for _, hop := range hops {
			m.Flags, m.Attributes.OutIface, m.Attributes.Gateway = uint32(hop.Hop.Flags), hop.Hop.IfIndex, hop.Gateway
			single = append(single, m)
		}
	}
	return single
}

// routeOf returns what a route of the kernel's is for a Network. ok is false if that cannot be said of it:
// if it has a source address, it goes when that goes.
func routeOf(m *rtnetlink.RouteMessage) (r Route, ok bool) {
	to := netip.IPv4Unspecified()
	if m.Family == unix.AF_INET6 {
		to = netip.IPv6Unspecified()
	}
	if dst, given := netip.AddrFromSlice(m.Attributes.Dst); given {
		to = dst
	}
	via, _ := netip.AddrFromSlice(m.Attributes.Gateway)
	return Route{
		To: netip.PrefixFrom(to, int(m.DstLength)), Via: via,
		Metric: m.Attributes.Priority, OnLink: m.Flags&unix.RTNH_F_ONLINK != 0,
	}, m.Attributes.Src == nil && m.Attributes.Via == nil
}

// message returns a route as the kernel wants it.
func (r Route) message(l *link) *rtnetlink.RouteMessage {
	m := rtnetlink.RouteMessage{
		Family: family(r.To.Addr()), DstLength: uint8(r.To.Bits()), Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_STATIC,
		Scope: unix.RT_SCOPE_UNIVERSE, Type: unix.RTN_UNICAST,
		Attributes: rtnetlink.RouteAttributes{OutIface: l.index, Priority: r.Metric},
	}
	if r.To.Bits() > 0 {
		m.Attributes.Dst = r.To.Addr().AsSlice()
	}
	switch {
	case r.Via.IsValid():
		m.Attributes.Gateway = r.Via.AsSlice()
	case r.To.Addr().Is4():
		m.Scope = unix.RT_SCOPE_LINK
	}
	if r.OnLink {
		m.Flags = unix.RTNH_F_ONLINK
	}
	return &m
}

// full returns the routes with the kernel's default metrics.
func full(routes []Route) []Route {
	all := slices.Clone(routes)
	for n := range all {
		if all[n].Metric == 0 && all[n].To.Addr().Is6() {
			all[n].Metric = defaultMetric6
		}
	}
	return all
}

// addRoutes adds the routes that the interface lacks, in their order. One to the same destination with another
// gateway stays beside it until dropRoutes, and one over another interface stays.
func (id *identity) addRoutes(i *Interface, l *link) {
	if len(i.Routes) == 0 {
		id.note("routes", l.name+": none given, all kept")
		return
	}
	has, err := id.routesOf(l)
	id.fail("routes", err)
	for _, r := range full(i.Routes) {
		there := slices.ContainsFunc(has, func(m rtnetlink.RouteMessage) bool {
			other, ok := routeOf(&m)
			return ok && other == r
		})
		if there {
			continue
		}
		_, err := id.conn.Execute(r.message(l), unix.RTM_NEWROUTE, netlink.Request|netlink.Acknowledge|netlink.Create)
		if errors.Is(err, unix.EEXIST) { // a router's announcement, or the kernel's for an address
			continue
		}
		if err != nil {
			id.fail("routes", fmt.Errorf("%s: add %s: %w", l.name, r, cause(err)))
			continue
		}
		l.renewed = true
		id.changed["routes"] = true
	}
}

// dropRoutes deletes the routes over the interface that are not wanted.
func (id *identity) dropRoutes(i *Interface, l *link) {
	if len(i.Routes) == 0 {
		return
	}
	has, err := id.routesOf(l)
	id.fail("routes", err)
	wanted := full(i.Routes)
	for _, m := range has {
		r, ok := routeOf(&m)
		if ok && slices.Contains(wanted, r) {
			continue
		}
		if err := ignoring(cause(id.conn.Route.Delete(&m)), unix.ESRCH); err != nil {
			id.fail("routes", fmt.Errorf("%s: delete %s: %w", l.name, r, err))
			continue
		}
		l.renewed = true
		id.changed["routes"] = true
	}
}

// ignoring returns err, or nil if it is harmless.
func ignoring(err, harmless error) error {
	if errors.Is(err, harmless) {
		return nil
	}
	return err
}
