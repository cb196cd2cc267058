//go:build linux

package session_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/ttymode"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A victim is an exec that notes what happens to it.
type victim struct {
	t       *testing.T
	started *wire.Started
	notes   string // a file
}

// noting is a shell's loop that notes signals.
const noting = `trap "echo signal >>$0" TERM USR1 HUP; trap "echo resize >>$0" WINCH; trap "echo probe >>$0" USR2
echo ready >>$0; while :; do sleep 0.01; done`

// startVictim starts one with a terminal, as exec 1 of h, that outlives h.
func startVictim(t *testing.T, h *host) *victim {
	t.Helper()
	v := &victim{t: t, notes: filepath.Join(t.TempDir(), "notes")}
	h.send(&wire.Exec{
		Head: wire.Head{ID: 1}, Argv: []string{"sh", "-c", noting, v.notes},
		TTY: &wire.TTY{}, OnDisconnect: wire.DisconnectKeep,
	})
	var ok bool
	if v.started, ok = h.receive().(*wire.Started); !ok {
		t.Fatal("the victim has not started")
	}
	agenttest.Eventually(t, "the victim's traps", func() bool { return v.noted() == "ready\n" })
	return v
}

func (v *victim) noted() string {
	text, _ := os.ReadFile(v.notes)
	return string(text)
}

// probe returns once the victim has handled every signal that came before.
func (v *victim) probe() {
	v.t.Helper()
	for n := range 2 { // a shell takes the signals that wait in an order of its own
		if err := syscall.Kill(v.started.PID, syscall.SIGUSR2); err != nil {
			v.t.Fatalf("the victim has gone: %v", err)
		}
		agenttest.Eventually(v.t, "the probe", func() bool { return strings.Count(v.noted(), "probe") == n+1 })
	}
}

// requestsAbout returns a request of each verb, other than ping, that would have an
// effect that shows: on exec 1, or on a file or a socket in dir.
func requestsAbout(id uint64, dir string) map[wire.Type]wire.Message {
	head := wire.Head{ID: id}
	return map[wire.Type]wire.Message{
		wire.TypeExec:    &wire.Exec{Head: head, Argv: []string{"touch", dir + "/touched"}},
		wire.TypeSignal:  &wire.Signal{Head: head, Exec: 1, Signal: "TERM"},
		wire.TypeResize:  &wire.Resize{Head: head, Exec: 1, Rows: 99, Cols: 99},
		wire.TypeKill:    &wire.Kill{Head: head, Exec: 1, Force: true},
		wire.TypeInfo:    &wire.Info{Head: head},
		wire.TypeReseed:  &wire.Reseed{Head: head, Entropy: make([]byte, 1)},
		wire.TypeForward: &wire.Forward{Head: head, Network: "unix", Address: dir + "/service", Stream: 3},
		wire.TypeExecs:   &wire.Execs{Head: head},
	}
}

// A request without an id breaks a rule, and has no effect before that is noticed,
// whatever it asks for and whether or not that is allowed.
func TestRequestWithoutAnIDHasNoEffect(t *testing.T) {
	verbs := append(denialTypes(), wire.TypePing, "no_such_verb")
	for _, verb := range verbs {
		for _, denied := range []bool{false, true} {
			if denied && wire.PolicyOf(verb) == "" {
				continue
			}
			t.Run(fmt.Sprintf("%s/denied=%t", verb, denied), func(t *testing.T) { withoutID(t, verb, denied) })
		}
	}
}

func withoutID(t *testing.T, verb wire.Type, denied bool) {
	policy := session.Policy{}
	if denied {
		policy.Denied = []string{wire.PolicyOf(verb)}
	}
	a := agenttest.StartWith(t, func(c *session.Config) {
		c.Policy, c.ShutdownGrace = policy, time.Millisecond // a victim does not end by SIGTERM
	})
	h := connect(t, a)
	var v *victim
	if !denied || verb != wire.TypeExec {
		v = startVictim(t, h)
	}
	dir := t.TempDir()
	called := serveUnix(t, dir+"/service")
	m, known := requestsAbout(0, dir)[verb]
	switch {
	case known:
	case verb == wire.TypePing:
		m = &wire.Ping{}
	default:
		m = &wire.Unknown{Head: wire.Head{Type: verb}}
	}
	h.send(m)
	wantError(t, h.lose(), 0, wire.BadRequest, "without an id")
	if v != nil {
		v.probe()
		if got := v.noted(); got != "ready\nprobe\nprobe\n" {
			t.Errorf("what happened to the exec: %q, want the probes alone", got)
		}
	}
	if _, err := os.Stat(dir + "/touched"); err == nil {
		t.Error("the exec has run")
	}
	if called() {
		t.Error("the service was connected to")
	}
	for _, record := range []string{`"request denied"`, `"exec signal"`, `"exec resize"`, `"exec kill"`} {
		if strings.Contains(a.Log.String(), record) {
			t.Errorf("the log has %s", record)
		}
	}
}

// serveUnix listens on path, and returns whether anybody has connected.
func serveUnix(t *testing.T, path string) (called func() bool) {
	t.Helper()
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	accepted := make(chan struct{}, 16)
	go func() { // ended by the listener's end
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			accepted <- struct{}{}
			_ = nc.Close()
		}
	}()
	return func() bool { return len(accepted) > 0 }
}

// holdUnix listens on path, and holds every connection until the end of the test.
func holdUnix(t *testing.T, path string) {
	t.Helper()
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() { // ended by the listener's end
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = nc.Close() })
		}
	}()
}

// A request whose form is wrong is answered, and not carried out in part.
func TestRequestOfAWrongFormIsABadRequest(t *testing.T) {
	head := wire.Head{ID: 7}
	for name, m := range map[string]wire.Message{
		"NUL in term":     &wire.Exec{Head: head, Argv: []string{"true"}, TTY: &wire.TTY{Term: "x\x00y"}},
		"half a mode":     &wire.Exec{Head: head, Argv: []string{"true"}, TTY: &wire.TTY{Modes: []byte("\x03\x00\x00\x00\x08\x2a\x00\x00")}},
		"endless modes":   &wire.Exec{Head: head, Argv: []string{"true"}, TTY: &wire.TTY{Modes: make([]byte, ttymode.MaxSize+1)}},
		"NUL in dir":      &wire.Exec{Head: head, Argv: []string{"true"}, Dir: "/tmp\x00"},
		"NUL in user":     &wire.Exec{Head: head, Argv: []string{"true"}, User: "root\x00"},
		"NUL in argv":     &wire.Exec{Head: head, Argv: []string{"true", "\x00"}},
		"NUL in env":      &wire.Exec{Head: head, Argv: []string{"true"}, Env: []string{"A=\x00"}},
		"no argv":         &wire.Exec{Head: head},
		"on_disconnect":   &wire.Exec{Head: head, Argv: []string{"true"}, OnDisconnect: "fly"},
		"signal":          &wire.Signal{Head: head, Exec: 1, Signal: "FLY"},
		"signal 0":        &wire.Signal{Head: head, Exec: 1, Signal: "0"},
		"rows":            &wire.Resize{Head: head, Exec: 1, Cols: 80},
		"handle's length": &wire.Kill{Head: head, Handle: []byte("short")},
		"exec and handle": &wire.Kill{Head: head, Exec: 1, Handle: make([]byte, 16)},
		"clock":           &wire.Reseed{Head: head, Entropy: make([]byte, 16), ClockNS: 1 << 63},
		"address":         &wire.Forward{Head: head, Network: "tcp", Address: "10.0.0.1:80", Stream: 3},
		"stream":          &wire.Forward{Head: head, Network: "tcp", Address: "localhost:80"},
	} {
		t.Run(name, func(t *testing.T) {
			h := connect(t, agenttest.Start(t))
			h.send(m)
			wantError(t, h.receive(), 7, wire.BadRequest, "")
			h.send(&wire.Ping{Head: wire.Head{ID: 8}})
			if m, ok := h.receive().(*wire.Done); !ok || m.ID != 8 {
				t.Errorf("answer to ping: %+v", m)
			}
		})
	}
}

// An error with the id of an exec that runs would be taken for that exec's.
func TestBadExecWithAnIDInUseEndsTheConnection(t *testing.T) {
	h := connect(t, agenttest.Start(t))
	h.exec(1, "sleep", "1000")
	h.send(&wire.Exec{Head: wire.Head{ID: 1}, Argv: []string{"true"}, OnDisconnect: "fly"})
	wantError(t, h.lose(), 0, wire.BadRequest, "exec: id 1 is in use")
}

func TestSignalResizeAndKillLeaveRecords(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	startVictim(t, h)
	for i, m := range []wire.Message{
		&wire.Signal{Head: wire.Head{ID: 2}, Exec: 1, Signal: "USR1"},
		&wire.Resize{Head: wire.Head{ID: 3}, Exec: 1, Rows: 50, Cols: 132},
		&wire.Signal{Head: wire.Head{ID: 4}, Exec: 99, Signal: "INT"},
		&wire.Kill{Head: wire.Head{ID: 5}, Exec: 1, Force: true},
	} {
		h.send(m)
		if _, id := wire.About(h.receive()); id != uint64(i+2) {
			t.Fatalf("answer to %d, want one to %d", id, i+2)
		}
	}
	log := a.Log.String()
	for _, want := range []string{
		`"exec":1,"signal":"USR1","message":"exec signal"`,
		`"exec":1,"rows":50,"cols":132,"message":"exec resize"`,
		`"exec":99,"signal":"INT","kind":"not_found","error":`,
		`"exec":1,"handle":"","force":true,"message":"exec kill"`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no record with %s in the log: %s", want, log)
		}
	}
}
