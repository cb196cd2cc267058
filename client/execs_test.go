//go:build linux

package client_test

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

var aHandle = []byte("0123456789abcdef")

// listing connects to a guest that answers the first request by answer.
func listing(t *testing.T, answer func(wire.Message) wire.Message) *client.Client {
	t.Helper()
	c, g := mute(t)
	g.offend(&wire.Hello{Min: 2, Max: 2, Features: []string{"later", wire.FeatureExecs}})
	go func() { // ends with its write
		if m, err := wire.Read(g.in); err == nil {
			g.offend(answer(m))
		}
	}()
	return c
}

func listed(l *wire.ExecList) func(wire.Message) wire.Message {
	return func(m wire.Message) wire.Message {
		_, id := wire.About(m)
		return &wire.Done{Head: wire.Head{ID: id}, Execs: l}
	}
}

func TestExecsListsWhatTheAgentSays(t *testing.T) {
	c := listing(t, listed(&wire.ExecList{More: 3, Running: []wire.ExecState{
		{Handle: aHandle, PID: 7, Command: "sleep\n1", User: "nobody", TTY: true, Keep: true, Connected: true, RunningMS: 1500},
		{Handle: aHandle, PID: 8},
	}}))
	l, err := c.Execs(patiently(t))
	if err != nil || len(l.Execs) != 2 || l.More != 3 {
		t.Fatalf("Execs = %+v, %v; want two, and three more", l, err)
	}
	e := l.Execs[0]
	if !bytes.Equal(e.Handle, aHandle) || e.PID != 7 || e.Command != "sleep\ufffd1" || e.User != "nobody" ||
		!e.TTY || !e.Keep || !e.Connected || e.Running != 1500*time.Millisecond {
		t.Errorf("Execs[0] = %+v", e)
	}
	if e := l.Execs[1]; e.TTY || e.Keep || e.Connected || e.User != "" {
		t.Errorf("Execs[1] = %+v", e)
	}
}

func TestExecsTextsAreBounded(t *testing.T) {
	long := strings.Repeat("\u202e", 1<<16)
	c := listing(t, listed(&wire.ExecList{Running: []wire.ExecState{{Handle: aHandle, PID: 7, Command: long, User: long}}}))
	l, err := c.Execs(patiently(t))
	if err != nil || len(l.Execs[0].Command) > 1024 || len(l.Execs[0].User) > 256 || strings.Contains(l.Execs[0].Command, "\u202e") {
		t.Errorf("Execs = %d and %d bytes of text, %v", len(l.Execs[0].Command), len(l.Execs[0].User), err)
	}
}

func TestExecsThatCannotBeAreErrors(t *testing.T) {
	for name, l := range map[string]*wire.ExecList{
		"no list":      nil,
		"no handle":    {Running: []wire.ExecState{{PID: 7}}},
		"short handle": {Running: []wire.ExecState{{PID: 7, Handle: []byte("x")}}},
		"no pid":       {Running: []wire.ExecState{{Handle: aHandle}}},
		"for ever":     {Running: []wire.ExecState{{Handle: aHandle, PID: 7, RunningMS: 1 << 63}}},
	} {
		if l, err := listing(t, listed(l)).Execs(patiently(t)); !errors.Is(err, client.ErrProtocol) || l != nil {
			t.Errorf("%s: Execs = %+v, %v; want an error that wraps ErrProtocol", name, l, err)
		}
	}
}

func TestKillExecNamesTheHandle(t *testing.T) {
	for _, force := range []bool{false, true} {
		c := listing(t, func(m wire.Message) wire.Message {
			k, ok := m.(*wire.Kill)
			if !ok || k.Exec != 0 || !bytes.Equal(k.Handle, aHandle) || k.Force != force {
				t.Errorf("the guest got %+v, want a kill of %q, force %t", m, aHandle, force)
			}
			_, id := wire.About(m)
			return &wire.Done{Head: wire.Head{ID: id}}
		})
		if err := c.KillExec(patiently(t), aHandle, force); err != nil {
			t.Errorf("KillExec = %v", err)
		}
	}
}

func TestKillExecOfAnEndedExecIsErrProcessDone(t *testing.T) {
	c := listing(t, func(m wire.Message) wire.Message {
		_, id := wire.About(m)
		return &wire.Error{Head: wire.Head{ID: id}, Kind: wire.NotFound, Message: "no such exec"}
	})
	err := c.KillExec(patiently(t), aHandle, false)
	wantKind(t, err, client.NotFound)
	if !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("KillExec = %v, want os.ErrProcessDone", err)
	}
}

func TestExecsAskNothingOfAnAgentThatIsTooOld(t *testing.T) {
	c, g := mute(t)
	g.offend(&wire.Hello{Min: 2, Max: 2, Version: "0.9", Features: []string{"other"}})
	_, err := c.Execs(patiently(t))
	wantKind(t, err, client.Unsupported)
	if want := `the agent, version "0.9", does not have "execs": it is too old, or its system cannot do that`; err.Error() != want {
		t.Errorf("Execs = %v, want %s", err, want)
	}
	wantKind(t, c.KillExec(patiently(t), aHandle, true), client.Unsupported)
	if err := c.KillExec(patiently(t), nil, true); err == nil || !strings.Contains(err.Error(), "a handle of 0 bytes") {
		t.Errorf("KillExec of no handle = %v", err)
	}
	go func() { _ = c.Ping(t.Context()) }() // ends with the connection
	if m, ok := g.receive().(*wire.Ping); !ok {
		t.Errorf("the guest got %+v first, want the ping", m)
	}
}

func TestExecsOfVersion1AreUnsupported(t *testing.T) {
	g := startGuest(t, 1)
	c := connect(t, g.target)
	_, err := c.Execs(patiently(t))
	wantKind(t, err, client.Unsupported)
	wantKind(t, c.KillExec(patiently(t), aHandle, true), client.Unsupported)
	if _, commands := g.counts(); commands != 0 {
		t.Errorf("%d requests reached the agent, want 0", commands)
	}
}

func TestCmdHasTheHandleThatTheAgentGives(t *testing.T) {
	for _, x := range []struct{ handle, want string }{{string(aHandle), string(aHandle)}, {"", ""}, {"short", ""}} {
		c, g := hostile(t)
		cmd := c.Command("anything")
		if h := cmd.Handle(); h != nil {
			t.Errorf("Handle = %q before Start, want nil", h)
		}
		result := make(chan error, 1)
		go func() { result <- cmd.Start() }() // ends by started
		e := g.receive().(*wire.Exec)
		g.send(&wire.Started{Head: wire.Head{ID: e.ID}, PID: 42, Handle: []byte(x.handle)})
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		if got := cmd.Handle(); string(got) != x.want {
			t.Errorf("Handle = %q, want %q", got, x.want)
		}
		_ = c.Close()
		_ = cmd.Wait()
	}
}
