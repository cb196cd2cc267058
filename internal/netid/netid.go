// Package netid gives the network interfaces of a clone an identity of their own: addresses,
// MAC, routes. It talks to the kernel alone, and writes no files.
package netid

import (
	"errors"
	"net"
	"net/netip"
	"time"
)

// ErrNotFound says that an interface is not there.
var ErrNotFound = errors.New("no such interface")

// A Network is what the network of a clone is to be.
type Network struct {
	Interfaces []Interface
	DNS        *DNS          // nil: leave it
	Hosts      []Host        // empty: leave them
	Wait       time.Duration // for interfaces that are not there
}

// An Interface is found by its MAC, or else by the one that it has in the snapshot. MACs have
// six bytes.
type Interface struct {
	MAC      net.HardwareAddr // that it is to have
	OldMAC   net.HardwareAddr // that it has in the snapshot; nil: it has MAC
	Replaced bool             // the interface with OldMAC is another one, whose device is gone

	Addresses []netip.Prefix // empty: leave them
	Routes    []Route        // empty: leave them
}

// A Route is a route over an interface.
type Route struct {
	To     netip.Prefix
	Via    netip.Addr // zero: the destination is on the link
	Metric uint32     // 0: the kernel's default
	OnLink bool       // Via is reached without a route of its own
}

// String returns the route as people write it.
func (r Route) String() string {
	text := r.To.String()
	if r.Via.IsValid() {
		text += " via " + r.Via.String()
	}
	return text
}

// DNS names resolvers.
type DNS struct {
	Servers []netip.Addr // empty: leave them
	Search  []string     // empty: leave them
}

// A Host is a line of hosts(5).
type Host struct {
	Address netip.Addr
	Names   []string
}

// An Outcome is what has become of one step, for all interfaces.
type Outcome struct {
	Step    string
	Changed bool
	Note    string
	Err     error
}

// Apply gives each interface of n what n says of it: the steps "interfaces", "addresses", "mac",
// "routes" and "neighbours". It begins with the interfaces that are there, and then waits
// for the others. sys is the path of sysfs, and received when the host's request has come.
//
// A second time it changes nothing. It is for Linux alone; elsewhere each step fails.
func Apply(n *Network, sys string, received time.Time) []Outcome { return apply(n, sys, received) }

// A Link is an interface of the guest.
type Link struct {
	Name   string
	Index  int
	Master bool    // a bridge, bond or the like, with ports that may have its MAC
	Routes []Route // that somebody has set
}

// LinkOf returns the interface that a Network means by a MAC, or nil if there is none.
func LinkOf(mac net.HardwareAddr) (*Link, error) { return linkByMAC(mac) }

// steps are those of Apply, in their order for each interface.
var steps = []string{"interfaces", "addresses", "mac", "routes", "neighbours"}
