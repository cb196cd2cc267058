//go:build linux

package client_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func TestHelloIsWhatTheAgentSays(t *testing.T) {
	c, g := mute(t)
	g.offend(&wire.Hello{
		Min: 2, Max: 2, Version: "1.2", OS: "linux", Arch: "arm64", BootID: "boot", Resumes: 7,
		AgentID: []byte("0123456789abcdef"), Features: []string{"execs", "later"},
	})
	h, err := c.Hello(patiently(t))
	if err != nil {
		t.Fatal(err)
	}
	if h.Protocol != 2 || h.Version != "1.2" || h.OS != "linux" || h.Arch != "arm64" || h.BootID != "boot" || h.Resumes != 7 ||
		h.AgentID != "30313233343536373839616263646566" || !slices.Equal(h.Features, []string{"execs", "later"}) {
		t.Errorf("Hello = %+v", h)
	}
}

func TestHelloIsBoundedAndPrintable(t *testing.T) {
	c, g := mute(t)
	long := "\x1b\u202e" + strings.Repeat("x", 1<<16)
	g.offend(&wire.Hello{
		Min: 2, Max: 2, Version: long, OS: long, Arch: long, BootID: long,
		Features: slices.Repeat([]string{long}, 8),
	})
	h, err := c.Hello(patiently(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range append([]string{h.Version, h.OS, h.Arch, h.BootID}, h.Features...) {
		if len(text) > 128 || !strings.HasPrefix(text, "\ufffd\ufffdxxx") {
			t.Errorf("%d bytes of text, %.20q…; want at most 128 printable ones", len(text), text)
		}
	}
}

func TestHelloHasAtMost64Features(t *testing.T) {
	c, g := mute(t)
	g.offend(&wire.Hello{Min: 2, Max: 2, Features: slices.Repeat([]string{"f"}, 1000)})
	if h, err := c.Hello(patiently(t)); err != nil || len(h.Features) != 64 {
		t.Errorf("Hello = %d features, %v; want 64", len(h.Features), err)
	}
}

func TestHelloWithAnOddAgentIDIsRefused(t *testing.T) {
	c, g := mute(t)
	g.offend(&wire.Hello{Min: 2, Max: 2, AgentID: []byte("short")})
	if _, err := c.Hello(patiently(t)); !errors.Is(err, client.ErrProtocol) {
		t.Errorf("Hello = %v, want an error that wraps %v", err, client.ErrProtocol)
	}
}

func TestHelloOfVersion1IsEmpty(t *testing.T) {
	c := connect(t, startGuest(t, 1).target)
	h, err := c.Hello(patiently(t))
	if err != nil || h.Protocol != client.Protocol1 || h.OS != "" || h.Version != "" || h.BootID != "" || h.Features != nil {
		t.Errorf("Hello = %+v, %v; want Protocol 1 and nothing else", h, err)
	}
}

func TestPoolVerifiesEachNewConnection(t *testing.T) {
	var seen []client.Hello
	config := client.PoolConfig{Verify: func(target string, h client.Hello) error {
		if target != "vm" {
			t.Errorf("Verify(%q), want vm", target)
		}
		seen = append(seen, h) // Get waits for it
		return nil
	}}
	p, _ := fakePool(t, config, func(_ int, g *guest) { g.serve(greeting("boot", "0123456789abcdef")) })
	for range 3 {
		get(t, p, "vm")
	}
	if len(seen) != 1 || seen[0].BootID != "boot" || seen[0].AgentID == "" {
		t.Errorf("Verify was called with %+v, want one hello", seen)
	}
}

func TestPoolVerifyOfVersion1HasTheProtocolAlone(t *testing.T) {
	var seen client.Hello
	p := newPool(t, client.PoolConfig{Verify: func(_ string, h client.Hello) error { seen = h; return nil }})
	get(t, p, startGuest(t, 1).target)
	if seen.Protocol != 1 || seen.BootID != "" || seen.OS != "" {
		t.Errorf("Verify got %+v, want Protocol 1 and nothing else", seen)
	}
}

type refusal struct{ bootID string }

func (e *refusal) Error() string { return "boot id " + e.bootID + " is not the VM's" }

func TestPoolVerifyErrorIsAFailedDial(t *testing.T) {
	closed := make(chan struct{}, 1)
	config := client.PoolConfig{
		MinBackoff: time.Hour,
		Verify:     func(_ string, h client.Hello) error { return &refusal{h.BootID} },
	}
	p, v := fakePool(t, config, func(_ int, g *guest) { g.serve(greeting("boot", "")); closed <- struct{}{} })
	_, err := p.Get(patiently(t), "vm")
	dial, isDial := errors.AsType[*client.DialError](err)
	why, isWhy := errors.AsType[*refusal](err)
	if !isDial || !isWhy || dial.Target != "vm" || why.bootID != "boot" {
		t.Fatalf("Get = %v (%T), want a DialError that wraps Verify's", err, err)
	}
	if want := "connect to vm: the agent was refused: boot id boot is not the VM's"; err.Error() != want {
		t.Errorf("Get = %q, want %q", err, want)
	}
	<-closed // by the pool
	if s := p.Stats(); s.Conns != 0 || s.Dials != 1 || s.DialErrors != 1 {
		t.Errorf("Stats = %+v, want one failed dial", s)
	}
	wantNoDial(t, p, v, 1)
}

// Some characters become shorter, and others longer, when they are made printable.
func TestHelloTextOfWideCharactersIsBounded(t *testing.T) {
	for _, char := range []string{"\U000e0001", "\x01", "\xff", "ü", "\u202e"} {
		c, g := mute(t)
		g.offend(&wire.Hello{Min: 2, Max: 2, Version: strings.Repeat(char, 1000)})
		h, err := c.Hello(patiently(t))
		if err != nil || len(h.Version) > 128 || !strings.HasSuffix(h.Version, "…") {
			t.Errorf("Version = %d bytes %q, %v; want at most 128 that end with …", len(h.Version), h.Version, err)
		}
	}
}
