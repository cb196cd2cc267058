//go:build linux

package session_test

import (
	"os"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/local"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func rules(t *testing.T, texts ...string) local.Rules {
	t.Helper()
	r, err := local.ParseRules(texts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// askForward asks for a connection to a Unix socket, and returns the answer.
func (h *host) askForward(id uint64, path string) wire.Message {
	h.tb.Helper()
	h.send(&wire.Forward{Head: wire.Head{ID: id}, Network: "unix", Address: path, Stream: h.open().ID()})
	return h.receive()
}

func TestForwardLeadsWhereARuleAllowsIt(t *testing.T) {
	dir := t.TempDir()
	allowed, other := serveUnix(t, dir+"/allowed"), serveUnix(t, dir+"/other")
	a := governed(t, session.Policy{Forward: rules(t, "unix:"+dir+"/allowed", "tcp:8080")})
	h := connect(t, a)
	if m, ok := h.askForward(1, dir+"/allowed").(*wire.Started); !ok {
		t.Errorf("answer to a forward that a rule allows: %+v", m)
	}
	agenttest.Eventually(t, "the connection", allowed)
	h = connect(t, a)
	wantError(t, h.askForward(2, dir+"/other"), 2, wire.PermissionDenied, "not allowed by this agent's policy")
	wantError(t, h.askForward(3, dir+"/./allowed"), 3, wire.PermissionDenied, "not allowed by this agent's policy")
	h.send(&wire.Forward{Head: wire.Head{ID: 4}, Network: "tcp", Address: "localhost:22", Stream: h.open().ID()})
	wantError(t, h.receive(), 4, wire.PermissionDenied, "forward to tcp localhost:22")
	if other() {
		t.Error("a socket was connected to that no rule allows")
	}
	if log := a.Log.String(); strings.Count(log, `"request denied"`) != 3 {
		t.Errorf("want 3 records of denied forwards: %s", log)
	}
}

// Otherwise whoever may forward is root to every service that trusts root.
func TestForwardIsMadeAsThePolicysUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can connect as somebody else")
	}
	dir := t.TempDir()
	for d := dir; d != "/tmp" && d != "/"; d = d[:strings.LastIndexByte(d, '/')] {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	private, public := serveUnix(t, dir+"/private"), serveUnix(t, dir+"/public")
	for name, mode := range map[string]os.FileMode{"private": 0o600, "public": 0o666} {
		if err := os.Chmod(dir+"/"+name, mode); err != nil {
			t.Fatal(err)
		}
	}
	h := connect(t, governed(t, session.Policy{User: "65534"}))
	wantError(t, h.askForward(1, dir+"/private"), 1, wire.PermissionDenied, "permission denied")
	if m, ok := h.askForward(2, dir+"/public").(*wire.Started); !ok {
		t.Errorf("answer to a forward to a socket that all may connect to: %+v", m)
	}
	agenttest.Eventually(t, "the connection", public)
	if private() {
		t.Error("the private socket was connected to")
	}
	h = connect(t, governed(t, session.Policy{User: "no-such-user"}))
	wantError(t, h.askForward(1, dir+"/public"), 1, wire.BadRequest, "no-such-user")
}

func TestForwardDoesNotLeadToTheAgentItself(t *testing.T) {
	var a *agenttest.Agent
	a = agenttest.StartWith(t, func(c *session.Config) {
		c.OwnSocket = func(name string) bool { return name == a.Path }
	})
	link := t.TempDir() + "/link"
	if err := os.Symlink(a.Path, link); err != nil {
		t.Fatal(err)
	}
	h := connect(t, a)
	wantError(t, h.askForward(1, a.Path), 1, wire.PermissionDenied, "the agent's own")
	wantError(t, h.askForward(2, link), 2, wire.PermissionDenied, "the agent's own")
}
