package netid

import (
	"bytes"
	"fmt"
	"net"
	"slices"

	"github.com/jsimonetti/rtnetlink/v2"
	"golang.org/x/sys/unix"
)

// A link is an Ethernet interface that was found.
type link struct {
	index   uint32
	name    string
	mac     net.HardwareAddr
	kind    string // empty: a device
	master  uint32 // the bridge or bond that it is a port of, or 0
	up      bool
	renewed bool   // something has changed that neighbours know, or know of them
	ports   []link // of a bridge: those that have its old MAC
}

// linksOf returns the Ethernet interfaces.
func linksOf(conn *rtnetlink.Conn) ([]link, error) {
	messages, err := conn.Link.List()
	var all []link
	for _, m := range messages {
		a := m.Attributes
		if a == nil || m.Type != unix.ARPHRD_ETHER {
			continue
		}
		l := link{index: m.Index, name: a.Name, mac: a.Address, up: m.Flags&unix.IFF_UP != 0}
		if a.Info != nil {
			l.kind = a.Info.Kind
		}
		if a.Master != nil {
			l.master = *a.Master
		}
		all = append(all, l)
	}
	return all, cause(err)
}

// byMAC returns the interface with a MAC, or nil. Bridges, VLANs and the like take over the MAC of
// a device: the device comes first. Of two devices, one may be a port of the other, as the fast path of
// Hyper-V's and virtio's is.
func byMAC(links []link, mac net.HardwareAddr) *link {
	var found *link
	for _, l := range links {
		if len(mac) == 0 || !bytes.Equal(l.mac, mac) {
			continue
		}
		if found == nil || l.rank() > found.rank() {
			found = &l
		}
	}
	return found
}

// rank orders interfaces with one MAC.
func (l *link) rank() int {
	switch {
	case !l.isDevice():
		return 0
	case l.master != 0:
		return 1
	default:
		return 2
	}
}

// isDevice reports whether an interface is one that a VMM can replace, or half of a container's cable.
func (l *link) isDevice() bool { return l.kind == "" || l.kind == "veth" }

// hasPorts reports whether an interface is of a kind that has the addresses of its ports.
func (l *link) hasPorts() bool { return l.kind == "bridge" || l.kind == "bond" || l.kind == "team" }

// byIndex returns the interface with an index, or nil.
func byIndex(links []link, index uint32) *link {
	n := slices.IndexFunc(links, func(l link) bool { return l.index == index })
	if n < 0 {
		return nil
	}
	return &links[n]
}

// topOf returns the interface that has the addresses of l: l, or the top-most bridge or bond that it
// is a port of.
func topOf(links []link, l *link) (*link, error) {
	for range links {
		if l.master == 0 {
			break
		}
		m := byIndex(links, l.master)
		switch {
		case m == nil:
			return nil, fmt.Errorf("%s is a port of interface %d, which is not an Ethernet one: want the MAC of another interface", l.name, l.master)
		case m.kind == "vrf": // its interfaces have addresses of their own
			return l, nil
		case m.kind != "" && !m.hasPorts():
			return nil, fmt.Errorf("%s is a port of %s, a device of kind %q: want the MAC of another interface", l.name, m.name, m.kind)
		}
		l = m
	}
	top := *l
	return &top, nil
}

// portsOf returns the ports of a bridge that have a MAC. Those of a bond have that of the bond.
func portsOf(links []link, l *link, mac net.HardwareAddr) []link {
	if l.kind != "bridge" || len(mac) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(links), func(port link) bool {
		return port.master != l.index || !bytes.Equal(port.mac, mac)
	})
}

// choose returns the interface that i is for, or nil if it is missing. It takes down one that has been replaced.
func (id *identity) choose(links []link, i *Interface) (*link, error) {
	l, old := byMAC(links, i.MAC), byMAC(links, i.OldMAC)
	if i.Replaced {
		return id.chooseNew(links, l, old)
	}
	if l == nil && old == nil {
		return nil, nil
	}
	if l == nil {
		return topOf(links, old)
	}
	top, err := topOf(links, l)
	if err != nil || old == nil {
		return top, err
	}
	oldTop, err := topOf(links, old)
	switch {
	case err == nil && oldTop.index == top.index:
	case old.isDevice():
		id.fail("interfaces", fmt.Errorf("%s has %s already, and %s still has %s and is left as it is: say replaced if %s takes its place",
			l.name, l.mac, old.name, old.mac, l.name))
	default:
		id.note("interfaces", fmt.Sprintf("%s has %s and is left as it is", old.name, old.mac))
	}
	return top, nil
}

// chooseNew is choose for an interface that takes the place of old. Bridges, VLANs and the like that
// have the MAC of old are not it.
func (id *identity) chooseNew(links []link, l, old *link) (*link, error) {
	switch {
	case old == nil:
	case !old.isDevice():
		id.note("interfaces", fmt.Sprintf("%s has %s, is not a device, and is left as it is", old.name, old.mac))
	case old.master != 0:
		id.fail("interfaces", errPort(links, old))
	case l == nil:
		id.strip(old) // at once: another VM has them
	default:
		id.retire(old)
	}
	if l == nil {
		return nil, nil
	}
	return topOf(links, l)
}

// errPort says that a device is a port, whose addresses are elsewhere.
func errPort(links []link, l *link) error {
	master := "another interface"
	if m := byIndex(links, l.master); m != nil {
		master = m.name
	}
	return fmt.Errorf("%s is a port of %s, which keeps its addresses: a port cannot be replaced", l.name, master)
}

// linkByMAC is [LinkOf] on Linux.
func linkByMAC(mac net.HardwareAddr) (*Link, error) {
	conn, err := rtnetlink.Dial(nil)
	if err != nil {
		return nil, cause(err)
	}
	defer conn.Close()
	links, err := linksOf(conn)
	if err != nil {
		return nil, err
	}
	found := byMAC(links, mac)
	if found == nil {
		return nil, nil
	}
	top, err := topOf(links, found)
	if err != nil {
		return nil, err
	}
	id := identity{report: newReport(), conn: conn}
	has, err := id.routesOf(top)
	one := Link{Name: top.name, Index: int(top.index), Master: top.hasPorts()}
	for _, m := range has {
		if r, _ := routeOf(&m); m.Attributes.Via == nil && len(m.Attributes.Multipath) == 0 {
			one.Routes = append(one.Routes, r)
		}
	}
	return &one, err
}
