//go:build linux

package client_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

const networkDocument = `{
	"interfaces": [{
		"mac": "52:54:00:00:00:02", "old_mac": "52:54:00:00:00:01", "replaced": true, "addresses": ["10.0.0.2/24"],
		"routes": [{"to": "default", "via": "10.0.0.254", "metric": 7, "on_link": true}]
	}],
	"dns": {"servers": ["10.0.0.53"], "search": ["example.org"]},
	"hosts": [{"address": "10.0.0.2", "names": ["web-17"]}],
	"wait_ms": 1500
}`

// networkSteps are those of a network with everything.
var networkSteps = []string{"interfaces", "addresses", "mac", "routes", "neighbours", "manager", "dns", "hosts"}

// resumeNetwork has a client ask a guest that has a feature for a network.
func resumeNetwork(t *testing.T, n *client.Network) (*guest, *wire.Reseed, <-chan resumed) {
	t.Helper()
	c, g := mute(t)
	g.offend(&wire.Hello{Min: 2, Max: 2, Features: []string{wire.FeatureReseedNetwork}})
	result := make(chan resumed, 1)
	go func() { // ends with the answer, or the connection
		report, err := c.ReseedWith(patiently(t), client.ReseedOptions{Network: n})
		result <- resumed{report, err}
	}()
	m, ok := g.receive().(*wire.Reseed)
	if !ok {
		t.Fatalf("the agent gets %+v, want a reseed", m)
	}
	return g, m, result
}

func TestNetworkIsSentAsTheDocumentHasIt(t *testing.T) {
	n, err := client.ParseNetwork([]byte(networkDocument))
	if err != nil {
		t.Fatal(err)
	}
	g, m, result := resumeNetwork(t, n)
	want := &wire.Network{
		Interfaces: []wire.Interface{{
			MAC: "52:54:00:00:00:02", OldMAC: "52:54:00:00:00:01", Replaced: true, Addresses: []string{"10.0.0.2/24"},
			Routes: []wire.Route{{To: "default", Via: "10.0.0.254", Metric: 7, OnLink: true}},
		}},
		DNS:    &wire.DNS{Servers: []string{"10.0.0.53"}, Search: []string{"example.org"}},
		Hosts:  []wire.HostEntry{{Address: "10.0.0.2", Names: []string{"web-17"}}},
		WaitMS: new(uint64(1500)),
	}
	if diff := cmp.Diff(want, m.Network); diff != "" {
		t.Errorf("the agent gets (-want +got)\n%s", diff)
	}
	steps := append([]string{"entropy", "random_seed"}, networkSteps...)
	g.send(&wire.Done{Head: wire.Head{ID: m.ID}, Steps: stepsOf(steps...)})
	if got := <-result; got.err != nil || len(got.report.Steps) != len(steps) {
		t.Errorf("ReseedWith = %+v, %v, want %d steps", got.report, got.err, len(steps))
	}
}

func TestNetworkStepWithoutResultIsAnError(t *testing.T) {
	n, err := client.ParseNetwork([]byte(networkDocument))
	if err != nil {
		t.Fatal(err)
	}
	for k, missing := range networkSteps {
		g, m, result := resumeNetwork(t, n)
		steps := []string{"entropy", "random_seed"}
		for other, name := range networkSteps {
			if other != k {
				steps = append(steps, name)
			}
		}
		g.send(&wire.Done{Head: wire.Head{ID: m.ID}, Steps: stepsOf(steps...)})
		if got := <-result; !errors.Is(got.err, client.ErrProtocol) || !strings.Contains(got.err.Error(), missing) {
			t.Errorf("ReseedWith = %v, want an ErrProtocol that names %s", got.err, missing)
		}
	}
}

func TestWaitOfANetwork(t *testing.T) {
	for wait, want := range map[time.Duration]*uint64{0: nil, -1: new(uint64), time.Second: new(uint64(1000))} {
		_, m, _ := resumeNetwork(t, &client.Network{Wait: wait})
		if diff := cmp.Diff(want, m.Network.WaitMS); diff != "" {
			t.Errorf("wait %v (-want +got)\n%s", wait, diff)
		}
	}
}

func TestOldAgentGetsNoNetwork(t *testing.T) {
	c, _ := hostile(t)
	report, err := c.ReseedWith(patiently(t), client.ReseedOptions{Network: &client.Network{}})
	wantKind(t, err, client.Unsupported)
	if report != nil {
		t.Errorf("ReseedWith = %+v, want no report", report)
	}
}

func TestNetworkWithTooManyPartsIsNotSent(t *testing.T) {
	for want, n := range map[string]*client.Network{
		"17 interfaces":            {Interfaces: make([]client.NetworkInterface, 17)},
		"257 hosts":                {Hosts: make([]client.NetworkHost, 257)},
		"129 interfaces[0].routes": {Interfaces: []client.NetworkInterface{{Routes: make([]client.NetworkRoute, 129)}}},
	} {
		c, g := mute(t)
		g.offend(&wire.Hello{Min: 2, Max: 2, Features: []string{wire.FeatureReseedNetwork}})
		if _, err := c.ReseedWith(patiently(t), client.ReseedOptions{Network: n}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ReseedWith = %v, want %q in the error", err, want)
		}
	}
}

func TestParseNetworkNamesWhatIsWrong(t *testing.T) {
	for document, want := range map[string]string{
		"":                                  "network: empty: want one JSON object",
		" \n":                               "network: empty: want one JSON object",
		"[]":                                "network: an array: want an object",
		"null":                              "network: null: want an object",
		"7":                                 "network: a number: want an object",
		`{"dns": {`:                         "network: the JSON object has no end",
		`{"interface": []}`:                 `unknown field "interface"`,
		`{"dns": {"server": []}}`:           `unknown field "dns.server"`,
		`{"interfaces": [{}, {"MAC": ""}]}`: `unknown field "interfaces[1].MAC"`,
		`{"interfaces": [{"routes": [{}, {"metric": -1}]}]}`: "interfaces[0].routes[1].metric: -1: want a whole number from 0 to 4294967295",
		`{"wait_ms": 1.5}`:                      "wait_ms: 1.5: want a whole number from 0 to 18446744073709551615",
		`{"wait_ms": "5s"}`:                     "wait_ms: a string: want a whole number",
		`{"dns": {"servers": [["a"]]}}`:         "dns.servers[0]: an array: want a string",
		`{"interfaces": [{"replaced": 1}]}`:     "interfaces[0].replaced: a number: want true or false",
		`{} {}`:                                 "more follows the object",
		`{"hosts": [], "dns": {}, "hosts": []}`: `field "hosts" stands twice`,
		`{"hosts": [], "h\u006fsts": []}`:       `field "hosts" stands twice`,
		`{"interfaces": [{}, {"mac": null, "mac": "02:00:00:00:00:01"}]}`:     `field "interfaces[1].mac" stands twice`,
		`{"hosts": [` + strings.Repeat(" ", client.MaxNetworkDocument) + `]}`: "a network of more than 262144 bytes",
	} {
		if n, err := client.ParseNetwork([]byte(document)); n != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseNetwork(%.40q) = %+v, %v, want %q in the error", document, n, err, want)
		}
	}
}

// FuzzParseNetwork checks that a document is read within bounds, or refused in one line.
func FuzzParseNetwork(f *testing.F) {
	f.Add([]byte(networkDocument))
	f.Add([]byte(`{"wait_ms": 18446744073709551615}`))
	f.Add([]byte(`{"interfaces": null, "hosts": [{}]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		n, err := client.ParseNetwork(document)
		if (n == nil) == (err == nil) || err != nil && strings.ContainsAny(err.Error(), "\n\x1b") {
			t.Errorf("ParseNetwork = %+v, %q, want one of them", n, err)
		}
	})
}
