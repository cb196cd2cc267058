package wire

// Network is what the network of a clone is to be. Addresses are text: the agent says
// which of them is malformed.
type Network struct {
	Interfaces []Interface
	DNS        *DNS        // nil: leave it
	Hosts      []HostEntry // of /etc/hosts; empty: leave it
	WaitMS     *uint64     // how long to wait for all interfaces; nil: 5 s
}

// Interface is an Ethernet interface of the guest.
type Interface struct {
	MAC       string   // that it gets, or has already; empty: OldMAC
	OldMAC    string   // that it has in the snapshot; empty: it has MAC
	Replaced  bool     // the VMM has replaced the device with OldMAC: it is to go
	Addresses []string // with prefix lengths; empty: leave them
	Routes    []Route  // empty: leave them
}

// Route is a route over an interface.
type Route struct {
	To     string // a prefix, or "default"
	Via    string // empty: the destination is on the link
	Metric uint32
	OnLink bool // Via needs no route of its own
}

// DNS names resolvers.
type DNS struct {
	Servers []string // addresses; empty: leave them
	Search  []string // domains; empty: leave them
}

// HostEntry is a line of /etc/hosts.
type HostEntry struct {
	Address string
	Names   []string
}

// How many an agent takes. A list may have maxList while a message is read, so that an agent can
// answer that it has too many.
const (
	maxList = 512

	MaxInterfaces = 16
	MaxRoutes     = 128 // of an interface
	MaxHosts      = 256
)

func (n *Network) fields(f *fields) {
	list(f, "interfaces", &n.Interfaces, maxList, filled)
	nested(f, "dns", &n.DNS, filled)
	list(f, "hosts", &n.Hosts, maxList, filled)
	optional(f, "wait_ms", &n.WaitMS)
}

func (i *Interface) fields(f *fields) {
	text(f, "mac", &i.MAC, filled)
	text(f, "old_mac", &i.OldMAC, filled)
	flag(f, "replaced", &i.Replaced)
	texts(f, "addresses", &i.Addresses, filled)
	list(f, "routes", &i.Routes, maxList, filled)
}

func (r *Route) fields(f *fields) {
	text(f, "to", &r.To, always)
	text(f, "via", &r.Via, filled)
	natural(f, "metric", &r.Metric, filled)
	flag(f, "on_link", &r.OnLink)
}

func (d *DNS) fields(f *fields) {
	texts(f, "servers", &d.Servers, filled)
	texts(f, "search", &d.Search, filled)
}

func (h *HostEntry) fields(f *fields) {
	text(f, "address", &h.Address, always)
	texts(f, "names", &h.Names, always)
}
