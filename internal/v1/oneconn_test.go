//go:build linux

package v1_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
)

func TestVersion1OptionsItLacksAreUnsupported(t *testing.T) {
	serve, _ := player(t, "")
	a := startOld(t, serve)
	c := dialOld(t, a)
	if err := c.Ready(patiently(t)); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*client.Cmd){
		"terminals":                              func(cmd *client.Cmd) { cmd.TTY = &client.TTY{} },
		"users":                                  func(cmd *client.Cmd) { cmd.User = "nobody" },
		"working directories":                    func(cmd *client.Cmd) { cmd.Dir = "/" },
		"environment without the agent's own":    func(cmd *client.Cmd) { cmd.ClearEnv = true },
		"commands that outlive their connection": func(cmd *client.Cmd) { cmd.Keep = true },
		"limits":                                 func(cmd *client.Cmd) { cmd.Limits.PIDs = 1 },
		"arguments and variables that are not UTF-8": func(cmd *client.Cmd) { cmd.Args = append(cmd.Args, "\xff") },
	} {
		cmd := c.CommandContext(patiently(t), "true")
		cmd.Stdin, cmd.Stdout = strings.NewReader("x"), io.Discard
		change(cmd)
		wantRemote(t, cmd.Run(), client.Unsupported, "the agent speaks protocol version 1, which has no "+what)
	}
	for what, o := range map[string]client.ReseedOptions{
		"hostnames": {Hostname: "x"}, "ssh keys": {SSHKeys: true}, "clocks": {ClockBack: true},
	} {
		_, err := c.ReseedWith(patiently(t), o)
		wantRemote(t, err, client.Unsupported, "the agent speaks protocol version 1, which has no "+what)
	}
}

func TestConnectionIntoTheGuestIsUnsupported(t *testing.T) {
	serve, _ := player(t, "")
	c := dialOld(t, startOld(t, serve))
	for range 2 { // found out by it, and then known
		_, err := c.DialGuest(patiently(t), "tcp", "localhost:80")
		wantRemote(t, err, client.Unsupported, "the agent speaks protocol version 1, which has no connections to services in the guest")
	}
}

func TestNewClientErrorSaysWhyTheConnectionEnded(t *testing.T) {
	near, far := socketpair(t)
	c, err := client.DialWith(t.Context(), func(context.Context) (net.Conn, error) { return near, nil })
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = far.Close()
	<-c.Done()
	if err := c.CommandContext(patiently(t), "x").Run(); !errors.Is(err, client.ErrLost) {
		t.Error(err)
	}
	if _, err := c.DialGuest(patiently(t), "tcp", "localhost:80"); !errors.Is(err, client.ErrLost) {
		t.Error(err)
	}
}

func TestInfoOfAnOldAgentIsItsVersion(t *testing.T) {
	serve, _ := player(t, "")
	info, err := dialOld(t, startOld(t, serve)).Info(patiently(t))
	if err != nil || info.Protocol != 1 || info.RoundTrip <= 0 || !info.Clock.IsZero() || info.ClockOffset != 0 || info.Version != "" {
		t.Errorf("Info = %+v, %v, want protocol 1, a round trip and no more", info, err)
	}
}

func TestResumeReportsTheStepsThatVersion1Has(t *testing.T) {
	serve, said := player(t, `{"type":"exit"}`+"\n")
	report, err := dialOld(t, startOld(t, serve)).ReseedWith(patiently(t), client.ReseedOptions{MachineID: true})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range report.Steps {
		names = append(names, s.Name)
	}
	if got := <-said; !slices.Equal(names, []string{"entropy", "machine_id"}) || len(got.frames[0].Data) != 32 {
		t.Errorf("steps %v, request %+v, want entropy of 32 bytes and machine_id", names, got)
	}
}

func TestConnectionThatIsNotUsedIsClosed(t *testing.T) {
	for name, run := range map[string]func(context.Context, net.Conn) error{
		"run": func(ctx context.Context, nc net.Conn) error {
			_, err := client.Run(ctx, nc, []string{"x"}, nil, nil, nil, nil)
			return err
		},
		"reseed": func(ctx context.Context, nc net.Conn) error { return client.Reseed(ctx, nc, nil, false) },
	} {
		near, far := socketpair(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := run(ctx, near); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want context.Canceled", name, err)
		}
		if n, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%s: Read = %d, %v, want EOF", name, n, err)
		}
	}
}
