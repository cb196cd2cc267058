//go:build linux

package session_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

const ownMAC = "52:54:00:00:00:02"

// tooShort keeps this machine as it is, should a network be taken for a good one.
var tooShort = make([]byte, 1)

// one is a network with one interface.
func one(change func(i *wire.Interface)) *wire.Network {
	i := wire.Interface{MAC: ownMAC}
	change(&i)
	return &wire.Network{Interfaces: []wire.Interface{i}}
}

func routed(to, via string, onLink bool) *wire.Network {
	return one(func(i *wire.Interface) { i.Routes = []wire.Route{{To: to, Via: via, OnLink: onLink}} })
}

// malformedNetworks are networks, by the beginning of what the answer says.
func malformedNetworks() map[string]*wire.Network {
	two := func(a, b wire.Interface) *wire.Network { return &wire.Network{Interfaces: []wire.Interface{a, b}} }
	return map[string]*wire.Network{
		`interfaces: 17: want at most 16`:                     {Interfaces: make([]wire.Interface, 17)},
		`wait_ms: 60001: want at most 60000`:                  {WaitMS: new(uint64(60_001))},
		`interfaces[0].mac: "": want a MAC, or one in`:        {Interfaces: make([]wire.Interface, 1)},
		`interfaces[0].mac: "52:54": want six bytes`:          one(func(i *wire.Interface) { i.MAC = "52:54" }),
		`interfaces[0].mac: "01:00:5e:00:00:01": want`:        one(func(i *wire.Interface) { i.MAC = "01:00:5e:00:00:01" }),
		`interfaces[0].mac: "02:00:5e:10:00:00:00:01": `:      one(func(i *wire.Interface) { i.MAC = "02:00:5e:10:00:00:00:01" }),
		`interfaces[0].old_mac: "00:00:00:00:00:00": `:        one(func(i *wire.Interface) { i.OldMAC = "00:00:00:00:00:00" }),
		`interfaces[0].replaced: true: want both mac`:         one(func(i *wire.Interface) { i.Replaced = true }),
		`interfaces[0].replaced: true: want another mac`:      one(func(i *wire.Interface) { i.Replaced, i.OldMAC = true, i.MAC }),
		`interfaces[0].replaced: true: want another mac than`: one(func(i *wire.Interface) { i.Replaced, i.OldMAC = true, "5254.0000.0002" }),
		`interfaces[1].mac: "` + ownMAC:                       two(wire.Interface{MAC: ownMAC}, wire.Interface{OldMAC: ownMAC}),
		`interfaces[0].old_mac: "` + ownMAC:                   two(wire.Interface{MAC: "52:54:00:00:00:03", OldMAC: ownMAC}, wire.Interface{MAC: ownMAC}),
		`interfaces[0].addresses: 65: want at most 64`:        one(func(i *wire.Interface) { i.Addresses = make([]string, 65) }),
		`interfaces[0].addresses[1]: "10.0.0.2": want`: one(func(i *wire.Interface) {
			i.Addresses = []string{"10.0.0.3/24", "10.0.0.2"}
		}),
		`interfaces[0].addresses[1]: "10.0.0.2/24": want each`: one(func(i *wire.Interface) {
			i.Addresses = []string{"10.0.0.2/24", "10.0.0.2/24"}
		}),
		`interfaces[0].addresses[0]: "fe80::1/64": want`:        one(func(i *wire.Interface) { i.Addresses = []string{"fe80::1/64"} }),
		`interfaces[0].addresses[0]: "224.0.0.1/4": want`:       one(func(i *wire.Interface) { i.Addresses = []string{"224.0.0.1/4"} }),
		`interfaces[0].addresses[0]: "::ffff:1.2.3.4/96": want`: one(func(i *wire.Interface) { i.Addresses = []string{"::ffff:1.2.3.4/96"} }),
		`interfaces[0].addresses[0]: "` + strings.Repeat("1", 64) + `…": want`: one(func(i *wire.Interface) {
			i.Addresses = []string{strings.Repeat("1", 100)}
		}),
		`interfaces[0].routes: 129: want at most 128`:             one(func(i *wire.Interface) { i.Routes = make([]wire.Route, 129) }),
		`interfaces[0].routes[0].to: "": want default`:            routed("", "", false),
		`interfaces[0].routes[0].to: "10.0.0.1/24": want`:         routed("10.0.0.1/24", "", false),
		`interfaces[0].routes[0].to: "default": want a via`:       routed("default", "", false),
		`interfaces[0].routes[0].via: "gateway": want an address`: routed("default", "gateway", false),
		`interfaces[0].routes[0].via: "fe80::1": want an address`: routed("10.0.0.0/24", "fe80::1", false),
		`interfaces[0].routes[0].via: "fe80::1%eth0": want`:       routed("default", "fe80::1%eth0", false),
		`interfaces[0].routes[0].on_link: true: want a via`:       routed("10.0.0.0/24", "", true),
		`interfaces[0].routes[1].to: "default": want each`: one(func(i *wire.Interface) {
			i.Routes = []wire.Route{{To: "0.0.0.0/0", Via: "10.0.0.1"}, {To: "default", Via: "10.0.0.2"}}
		}),
		`dns.servers: 9: want at most 8`:             {DNS: &wire.DNS{Servers: make([]string, 9)}},
		`dns.servers[0]: "localhost": want`:          {DNS: &wire.DNS{Servers: []string{"localhost"}}},
		`dns.search: 17: want at most 16`:            {DNS: &wire.DNS{Search: make([]string, 17)}},
		`dns.search[0]: "a\nnameserver 1.1.1.1": `:   {DNS: &wire.DNS{Search: []string{"a\nnameserver 1.1.1.1"}}},
		`hosts: 257: want at most 256`:               {Hosts: make([]wire.HostEntry, 257)},
		`hosts[0].address: "": want an address`:      {Hosts: []wire.HostEntry{{Names: []string{"a"}}}},
		`hosts[0].names: 0: want 1 to 16`:            {Hosts: []wire.HostEntry{{Address: "10.0.0.1"}}},
		`hosts[0].names[1]: "a b": want a name of a`: {Hosts: []wire.HostEntry{{Address: "10.0.0.1", Names: []string{"a", "a b"}}}},
	}
}

func TestMalformedNetworkIsABadRequest(t *testing.T) {
	h := connect(t, governed(t, session.Policy{}))
	for want, network := range malformedNetworks() {
		h.send(&wire.Reseed{Head: wire.Head{ID: 7}, Entropy: tooShort, Network: network})
		e, ok := h.receive().(*wire.Error)
		if !ok || e.Kind != wire.BadRequest || len(e.Steps) > 0 || !strings.HasPrefix(e.Message, "bad request: network."+want) || strings.Contains(e.Message, "\n") {
			t.Errorf("the agent answers %+v, want bad_request, and network.%s", e, want)
		}
	}
}

func TestNetworkIsDeniedWithReseed(t *testing.T) {
	h := connect(t, governed(t, session.Policy{Denied: []string{"reseed"}}))
	h.send(&wire.Reseed{Head: wire.Head{ID: 7}, Entropy: tooShort, Network: routed("default", "10.0.0.1", false)})
	if e, ok := h.receive().(*wire.Error); !ok || e.Kind != wire.PermissionDenied {
		t.Errorf("the agent answers %+v, want permission_denied", e)
	}
}

// FuzzNetwork checks that what is taken for a network has the bounds and the form that the kernel's
// messages and the guest's files are made of.
func FuzzNetwork(f *testing.F) {
	f.Add(ownMAC, "", "10.0.0.2/24", "default", "10.0.0.1", "10.0.0.53", "web-17")
	for _, m := range malformedNetworks() {
		for _, i := range m.Interfaces {
			for _, r := range append(i.Routes, wire.Route{}) {
				f.Add(i.MAC, i.OldMAC, strings.Join(i.Addresses, ","), r.To, r.Via, "::1", "a b")
			}
		}
	}
	f.Fuzz(func(t *testing.T, mac, old, addresses, to, via, server, name string) {
		n, err := session.CheckNetwork(&wire.Network{
			Interfaces: []wire.Interface{{MAC: mac, OldMAC: old, Addresses: strings.Split(addresses, ","), Routes: []wire.Route{{To: to, Via: via}}}},
			DNS:        &wire.DNS{Servers: []string{server}, Search: []string{name}},
			Hosts:      []wire.HostEntry{{Address: server, Names: []string{name}}},
		})
		if err != nil {
			if !strings.HasPrefix(err.Error(), "bad request: network.") || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("the error is %q, want the field, in one line", err)
			}
			return
		}
		i := n.Interfaces[0]
		r := i.Routes[0]
		if len(i.MAC) != 6 || i.OldMAC != nil && len(i.OldMAC) != 6 || r.To != r.To.Masked() || r.Via.IsValid() && r.Via.Is4() != r.To.Addr().Is4() {
			t.Errorf("an interface %+v", i)
		}
		text := fmt.Sprint(i.Addresses, r, n.DNS.Servers, n.DNS.Search, n.Hosts[0].Address, n.Hosts[0].Names)
		if strings.ContainsAny(text, "\n\r\t\x00%#=") || slices.Contains(n.DNS.Search, "") {
			t.Errorf("files would have %q", text)
		}
	})
}
