//go:build linux

package session_test

import (
	"os"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func governed(tb testing.TB, p session.Policy) *agenttest.Agent {
	tb.Helper()
	return agenttest.StartWith(tb, func(c *session.Config) { c.Policy = p })
}

func requests() map[wire.Type]wire.Message {
	head := wire.Head{ID: 7}
	return map[wire.Type]wire.Message{
		wire.TypeExec:    &wire.Exec{Head: head, Argv: []string{"true", "secret"}},
		wire.TypeSignal:  &wire.Signal{Head: head, Exec: 1, Signal: "TERM"},
		wire.TypeResize:  &wire.Resize{Head: head, Exec: 1, Rows: 24, Cols: 80},
		wire.TypeKill:    &wire.Kill{Head: head, Exec: 1},
		wire.TypeInfo:    &wire.Info{Head: head},
		wire.TypeReseed:  &wire.Reseed{Head: head, Entropy: make([]byte, 1)},
		wire.TypeForward: &wire.Forward{Head: head, Network: "tcp", Address: "localhost:1", Stream: 3},
		wire.TypeExecs:   &wire.Execs{Head: head},
		wire.TypeQuiesce: &wire.Quiesce{Head: head},
		wire.TypeThaw:    &wire.Thaw{Head: head},
		wire.TypeListen:  &wire.Listen{Head: head, Network: "tcp", Address: "localhost:0"},
		wire.TypeAccept:  &wire.Accept{Head: head, Listener: 7, Stream: 3},
		wire.TypeAttach:  &wire.Attach{Head: head, Handle: make([]byte, 16)},
		wire.TypeLeave:   &wire.Leave{Head: head, Exec: 1},
		wire.TypeRelease: &wire.Release{Head: head, Handle: make([]byte, 16)},
		wire.TypeFiles:   &wire.Files{Head: head, Op: "push", Path: "/secret", Stdin: 3, Stdout: 5},
	}
}

// denialTypes are the types of request that a policy may deny.
func denialTypes() []wire.Type {
	var types []wire.Type
	for _, v := range wire.Verbs() {
		if v.Policy != "" {
			types = append(types, v.Type)
		}
	}
	return types
}

func TestProtocolSaysWhatEachVerbAmountsTo(t *testing.T) {
	text, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "## 10. What is allowed")
	if !ok {
		t.Fatal("docs/protocol.md has no section 10")
	}
	for _, verb := range session.Verbs() {
		if strings.Count(table, "`"+verb+"`") < 2 { // in the list and in the table
			t.Errorf("section 10 of docs/protocol.md does not say what %s amounts to", verb)
		}
	}
}

func TestEveryVerbCanBeDeniedAndLeavesARecord(t *testing.T) {
	if len(requests()) != len(denialTypes()) {
		t.Fatalf("the test knows %d requests, there are %d", len(requests()), len(denialTypes()))
	}
	for _, verb := range denialTypes() {
		t.Run(string(verb), func(t *testing.T) {
			denied, err := session.Deny([]string{wire.PolicyOf(verb)})
			if err != nil {
				t.Fatal(err)
			}
			a := governed(t, session.Policy{Denied: denied})
			h := connect(t, a)
			h.send(requests()[verb])
			wantError(t, h.receive(), 7, wire.PermissionDenied, string(verb)+": not allowed by this agent's policy")
			log := a.Log.String()
			for _, want := range []string{`"request denied"`, `"verb":"` + string(verb) + `"`, `"peer":"unix:uid=`} {
				if !strings.Contains(log, want) {
					t.Errorf("no %s in the log: %s", want, log)
				}
			}
			if strings.Contains(log, "secret") {
				t.Errorf("the log has arguments: %s", log)
			}
			h.send(&wire.Ping{Head: wire.Head{ID: 8}})
			if m, ok := h.receive().(*wire.Done); !ok || m.ID != 8 {
				t.Errorf("answer to ping: %+v", m)
			}
		})
	}
}

func TestAllowDeniesAllOtherVerbs(t *testing.T) {
	denied, err := session.Allow([]string{"exec", "ping"})
	if err != nil {
		t.Fatal(err)
	}
	h := connect(t, governed(t, session.Policy{Denied: denied}))
	h.exec(1, "sleep", "1000")
	for verb, m := range requests() {
		if verb == wire.TypeExec {
			continue
		}
		h.send(m)
		wantError(t, h.receive(), 7, wire.PermissionDenied, string(verb))
	}
	h.send(&wire.Ping{Head: wire.Head{ID: 8}})
	if m, ok := h.receive().(*wire.Done); !ok || m.ID != 8 {
		t.Errorf("answer to ping: %+v", m)
	}
}

func TestPolicyRejectsUnknownVerbsAndPing(t *testing.T) {
	if _, err := session.Deny([]string{"exec", "fly"}); err == nil || !strings.Contains(err.Error(), `unknown verb "fly": want one of exec`) {
		t.Error(err)
	}
	if _, err := session.Allow([]string{""}); err == nil || !strings.Contains(err.Error(), `unknown verb ""`) {
		t.Error(err)
	}
	if _, err := session.Deny([]string{"ping"}); err == nil || !strings.Contains(err.Error(), "cannot be denied") {
		t.Error(err)
	}
}

func TestPolicysUserIsOnlyForRequestsThatNameNone(t *testing.T) {
	h := connect(t, governed(t, session.Policy{User: "no-such-user-1"}))
	h.send(&wire.Exec{Head: wire.Head{ID: 1}, Argv: []string{"true"}})
	wantError(t, h.receive(), 1, wire.BadRequest, "no-such-user-1")
	h.send(&wire.Exec{Head: wire.Head{ID: 2}, Argv: []string{"true"}, User: "no-such-user-2"})
	wantError(t, h.receive(), 2, wire.BadRequest, "no-such-user-2")
}

func TestLogArgsLogsArgumentsAndNoEnvironment(t *testing.T) {
	a := agenttest.StartWith(t, func(c *session.Config) { c.LogArgs = true })
	h := connect(t, a)
	long := strings.Repeat("x", 1000)
	argv := append([]string{"sh", "-c", "exit 3", "two words", long}, strings.Fields(strings.Repeat("many ", 100))...)
	h.send(&wire.Exec{Head: wire.Head{ID: 1}, Argv: append(argv, "last"), Env: []string{"TOKEN=secret"}})
	h.receive()
	h.receive()
	log := a.Log.String()
	if !strings.Contains(log, `"argv":["sh","-c","exit 3","two words","`+long[:256]+`…","many",`) {
		t.Errorf("no arguments in the log: %s", log)
	}
	for _, unwanted := range []string{long[:257], "last", "secret"} {
		if strings.Contains(log, unwanted) {
			t.Errorf("%.9s in the log: %s", unwanted, log)
		}
	}
}

func TestBothRecordsOfACommandSayWhatItWas(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	h.send(&wire.Exec{Head: wire.Head{ID: 1}, Argv: []string{"true", "1", "2"}, User: "0", TTY: &wire.TTY{}})
	for done := false; !done; {
		switch h.receive().(type) {
		case *wire.Exited, *wire.Error:
			done = true
		}
	}
	for line := range strings.Lines(a.Log.String()) {
		if strings.Contains(line, `"exec `) && !strings.Contains(line, `"exec":1,"argv0":"true","argc":3,"user":"0","tty":true`) {
			t.Errorf("a record without it: %s", line)
		}
	}
}
