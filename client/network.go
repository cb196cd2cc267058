package client

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A Network is what the network of a clone is to be, for [ReseedOptions]. The agent checks it. If a
// value makes no sense, the error is a [*RemoteError] of kind [BadRequest] that names the field,
// and nothing has changed. docs/protocol.md, section 3.4, specifies each field and its limits.
type Network struct {
	Interfaces []NetworkInterface `json:"interfaces"`
	DNS        *NetworkDNS        `json:"dns"`   // nil: leave it
	Hosts      []NetworkHost      `json:"hosts"` // the agent's block in /etc/hosts; empty: leave it

	// Wait is how long the agent may wait for interfaces that are not there, up to a minute.
	// 0: 5 seconds. Less than 0: it does not wait.
	Wait time.Duration `json:"-"` // in a document, "wait_ms"
}

// A NetworkInterface is found by MAC, or else by OldMAC. One of them is required.
type NetworkInterface struct {
	MAC       string   `json:"mac"`       // that it is to have; empty: OldMAC
	OldMAC    string   `json:"old_mac"`   // that it has in the snapshot
	Replaced  bool     `json:"replaced"`  // the interface with OldMAC is to go: its device has been replaced
	Addresses []string `json:"addresses"` // such as 10.0.0.2/24 and 2001:db8::2/64; empty: leave them

	// Routes are added in their order, and others over the interface are deleted. Empty:
	// leave them.
	Routes []NetworkRoute `json:"routes"`
}

// A NetworkRoute is a route over an interface.
type NetworkRoute struct {
	To     string `json:"to"`      // such as 10.1.0.0/16, or "default"
	Via    string `json:"via"`     // a gateway; empty: To is on the link
	Metric uint32 `json:"metric"`  // 0: the kernel's default
	OnLink bool   `json:"on_link"` // Via needs no route of its own
}

// A NetworkDNS names resolvers.
type NetworkDNS struct {
	Servers []string `json:"servers"` // addresses; empty: leave them
	Search  []string `json:"search"`  // domains; empty: leave them
}

// A NetworkHost is a line of hosts(5).
type NetworkHost struct {
	Address string   `json:"address"`
	Names   []string `json:"names"`
}

// MaxNetworkDocument is the size of the largest document that [ParseNetwork] takes, in bytes.
const MaxNetworkDocument = 256 << 10

// ParseNetwork reads a network from a JSON object, as "cocoon-agent reseed --resume-file" does. The
// names of its fields are those of docs/protocol.md. A field that is unknown, or stands twice, is an error that names it.
func ParseNetwork(document []byte) (*Network, error) {
	if len(document) > MaxNetworkDocument {
		return nil, fmt.Errorf("client: a network of more than %d bytes", MaxNetworkDocument)
	}
	if len(bytes.TrimSpace(document)) == 0 {
		return nil, errors.New("client: network: empty: want one JSON object")
	}
	var d networkDocument
	if err := decodeStrictly(document, &d); err != nil {
		return nil, fmt.Errorf("client: network: %w", err)
	}
	n := &Network{Interfaces: d.Interfaces, DNS: d.DNS, Hosts: d.Hosts}
	if d.WaitMS != nil {
		n.Wait = time.Duration(min(*d.WaitMS, uint64(math.MaxInt64/time.Millisecond))) * time.Millisecond
		if n.Wait == 0 {
			n.Wait = -1
		}
	}
	return n, nil
}

// A networkDocument is a [Network] in JSON.
type networkDocument struct {
	Interfaces []NetworkInterface `json:"interfaces"`
	DNS        *NetworkDNS        `json:"dns"`
	Hosts      []NetworkHost      `json:"hosts"`
	WaitMS     *uint64            `json:"wait_ms"`
}

// message returns the network as the protocol has it. Longer lists an agent may not even read.
func (n *Network) message() (*wire.Network, error) {
	m := &wire.Network{}
	if len(n.Interfaces) > wire.MaxInterfaces || len(n.Hosts) > wire.MaxHosts {
		return nil, fmt.Errorf("client: network: %d interfaces, %d hosts: want at most %d and %d",
			len(n.Interfaces), len(n.Hosts), wire.MaxInterfaces, wire.MaxHosts)
	}
	for k, i := range n.Interfaces {
		if len(i.Routes) > wire.MaxRoutes {
			return nil, fmt.Errorf("client: network: %d interfaces[%d].routes: want at most %d", len(i.Routes), k, wire.MaxRoutes)
		}
		w := wire.Interface{MAC: i.MAC, OldMAC: i.OldMAC, Replaced: i.Replaced, Addresses: i.Addresses}
		for _, r := range i.Routes {
			w.Routes = append(w.Routes, wire.Route(r))
		}
		m.Interfaces = append(m.Interfaces, w)
	}
	if n.DNS != nil {
		m.DNS = &wire.DNS{Servers: n.DNS.Servers, Search: n.DNS.Search}
	}
	for _, h := range n.Hosts {
		m.Hosts = append(m.Hosts, wire.HostEntry(h))
	}
	if n.Wait != 0 {
		m.WaitMS = new(uint64(max(n.Wait, 0).Milliseconds()))
	}
	return m, nil
}
