//go:build linux

package session_test

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/hangtest"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// meet connects to an agent and returns its id, too.
func meet(t *testing.T, a *agenttest.Agent) (*host, []byte) {
	t.Helper()
	nc := a.Dial(t)
	h := &host{tb: t}
	var err error
	if h.mux, h.control, err = mux.Client(nc, wire.Preface); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.mux.Close() })
	h.in = bufio.NewReader(h.control)
	hello := h.receive().(*wire.Hello)
	h.send(&wire.Hello{Min: 2, Max: 2})
	return h, hello.AgentID
}

// appends is a request with a key for a command that adds a line to a file.
func appends(id uint64, path, key string, agent []byte) *wire.Exec {
	return &wire.Exec{
		Head: wire.Head{ID: id}, Argv: []string{"sh", "-c", `echo started >>"$0"; echo output`, path},
		Keeping: wire.Keeping{Key: []byte(key), AgentID: agent, Detach: true},
	}
}

func TestRepeatedKeyStartsNothing(t *testing.T) {
	a := agenttest.Start(t)
	path := filepath.Join(t.TempDir(), "starts")
	h, agent := meet(t, a)
	out := h.open()
	m := appends(1, path, "key", agent)
	m.Stdout = out.ID()
	first := h.begin(m)
	if first.Repeated {
		t.Errorf("the first request is answered by %+v, want repeated not to be set", first)
	}
	readAll(t, out)
	h.exited(1)
	_ = h.mux.Close()

	h, agent = meet(t, a)
	for id := range uint64(3) {
		out := h.open()
		m := appends(id+1, path, "key", agent)
		m.Stdout = out.ID()
		again := h.begin(m)
		if !again.Repeated || again.PID != first.PID || !bytes.Equal(again.Handle, first.Handle) {
			t.Errorf("a repeated request is answered by %+v, want %+v, repeated", again, first)
		}
		if text := readAll(t, out); text != "output\n" {
			t.Errorf("the repeated request gets %q", text)
		}
		if x := h.exited(id + 1); x.Code != 0 || x.StdoutBytes != 7 {
			t.Errorf("exited: %+v", x)
		}
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "started\n" {
		t.Errorf("the command has started as %q says, %v: want once", text, err)
	}
	other := appends(9, path, "key", agent)
	other.Argv = []string{"true"}
	h.send(other)
	wantError(t, h.receive(), 9, wire.BadRequest, "the key belongs to another request")
	h.send(&wire.Release{Head: wire.Head{ID: 10}, Handle: first.Handle})
	h.receive()
	if again := h.begin(appends(11, path, "key", agent)); again.Repeated {
		t.Error("the key is known after release")
	}
	h.exited(11)
}

// Requests that come while the first one with the key is still starting wait for it.
func TestSameKeyAtOnceStartsOnce(t *testing.T) {
	a := agenttest.Start(t)
	path := filepath.Join(t.TempDir(), "starts")
	const at = 20
	var hosts []*host
	for range at {
		h, agent := meet(t, a)
		h.send(appends(1, path, "key", agent))
		hosts = append(hosts, h)
	}
	first := 0
	for _, h := range hosts {
		m, ok := h.receive().(*wire.Started)
		if !ok {
			t.Fatalf("answer: %+v", m)
		}
		if !m.Repeated {
			first++
		}
		h.exited(1)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "started\n" || first != 1 {
		t.Errorf("%d requests were the first, and the file says %q, %v: want one", first, text, err)
	}
}

// A command that could not start frees its key.
func TestKeyOfFailedStartIsFree(t *testing.T) {
	h, agent := meet(t, agenttest.Start(t))
	m := &wire.Exec{Head: wire.Head{ID: 1}, Argv: []string{"no-such-command"}, Keeping: wire.Keeping{Key: []byte("k"), AgentID: agent}}
	for id := range uint64(2) {
		m.ID = id + 1
		h.send(m)
		wantError(t, h.receive(), m.ID, wire.NotFound, "no-such-command")
	}
}

// Without detach the end of the connection ends the command, and its key tells.
func TestKeyTellsOfExecThatItsConnectionEnded(t *testing.T) {
	a := agenttest.Start(t)
	h, agent := meet(t, a)
	out := h.open()
	m := &wire.Exec{
		Head: wire.Head{ID: 1}, Argv: []string{"sh", "-c", "echo x; sleep 1000"}, Stdout: out.ID(),
		Keeping: wire.Keeping{Key: []byte("k"), AgentID: agent},
	}
	h.begin(m)
	_, _ = out.Read(make([]byte, 2))
	_ = h.mux.Close()

	h, _ = meet(t, a)
	m.Stdout = h.open().ID()
	if again := h.begin(m); !again.Repeated {
		t.Errorf("started: %+v, want repeated", again)
	}
	if x := h.exited(1); x.Reason != wire.ReasonKilled || x.StdoutBytes != 2 {
		t.Errorf("exited: %+v, want killed, with the 2 bytes that nobody can have", x)
	}
}

// An agent does not answer for another one, whose id is in the request.
func TestKeyOfAnotherAgentIsNotFound(t *testing.T) {
	_, old := meet(t, agenttest.Start(t))
	path := filepath.Join(t.TempDir(), "starts")
	a := agenttest.Start(t)
	h, _ := meet(t, a)
	h.send(appends(1, path, "key", old))
	wantError(t, h.receive(), 1, wire.NotFound, "the request is for agent")
	if _, err := os.Stat(path); err == nil {
		t.Error("the command has run")
	}
	if !strings.Contains(a.Log.String(), "exec refused") {
		t.Error("the log does not say so")
	}
}

// Without detach nothing is kept of the output: streams of a repeated request end.
func TestRepeatWithoutDetachEndsItsStreams(t *testing.T) {
	h, agent := meet(t, agenttest.Start(t))
	m := &wire.Exec{
		Head: wire.Head{ID: 1}, Argv: []string{"echo", "x"}, Stdout: h.open().ID(),
		Keeping: wire.Keeping{Key: []byte("k"), AgentID: agent},
	}
	h.begin(m)
	h.exited(1)
	out, errs := h.open(), h.open()
	m.ID, m.Stdout = 2, out.ID()
	h.begin(m)
	h.exited(2)
	if text := readAll(t, out); text != "" {
		t.Errorf("stdout of the repeated request = %q, want its end", text)
	}
	_ = errs.Close()
}

// A request that waits for the start of the first one with its key can be ended and left.
func TestRequestThatWaitsForItsKeyCanBeEnded(t *testing.T) {
	a := agenttest.Start(t)
	held := hangtest.NewProgram(t)
	first, agent := meet(t, a)
	m := &wire.Exec{
		Head: wire.Head{ID: 1}, Argv: []string{held.Path()},
		Keeping: wire.Keeping{Key: []byte("k"), AgentID: agent, Detach: true},
	}
	first.send(m)
	agenttest.Eventually(t, "the start that hangs", func() bool { return strings.Count(a.Log.String(), "exec requested") == 1 })
	second, _ := meet(t, a)
	m.ID = 2
	second.send(m)
	agenttest.Eventually(t, "the request that waits", func() bool { return strings.Count(a.Log.String(), "exec requested") == 2 })
	second.send(&wire.Leave{Head: wire.Head{ID: 3}, Exec: 2})
	answers := map[uint64]bool{}
	for range 2 {
		done, ok := second.receive().(*wire.Done)
		if ok {
			answers[done.ID] = true
		}
	}
	if !answers[2] || !answers[3] {
		t.Errorf("done of %v, want of 2 and 3", answers)
	}
	m.ID = 4
	second.send(m)
	agenttest.Eventually(t, "another request", func() bool { return strings.Count(a.Log.String(), "exec requested") == 3 })
	second.send(&wire.Kill{Head: wire.Head{ID: 5}, Exec: 4, Force: true})
	if m, ok := second.receive().(*wire.Done); !ok || m.ID != 5 {
		t.Fatalf("answer to kill: %+v", m)
	}
	wantError(t, second.receive(), 4, wire.BadRequest, "killed before it started")
	if e, ok := first.receive().(*wire.Error); !ok || e.ID != 1 || e.Reason != wire.ReasonKilled {
		t.Errorf("answer to the first request: %+v, want an error with the reason killed", e)
	}
}
