//go:build linux

package session_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func startWithQuotas(tb testing.TB, quotas session.Quotas) *agenttest.Agent {
	tb.Helper()
	return agenttest.StartWith(tb, func(c *session.Config) { c.Quotas = quotas })
}

// served says whether a new connection is greeted.
func served(t *testing.T, a *agenttest.Agent) bool {
	t.Helper()
	nc := a.Dial(t)
	_, _ = io.WriteString(nc, wire.Preface)
	m, control, err := mux.Client(nc, "")
	if err != nil {
		return false
	}
	defer m.Close()
	hello, err := wire.Read(control)
	return err == nil && hello != nil
}

// atItsLimit checks that a host whose exec has been refused is served in all but execs,
// and that exec id, which runs, goes on until it is killed.
func atItsLimit(t *testing.T, h *host, id uint64) {
	t.Helper()
	h.send(&wire.Ping{Head: wire.Head{ID: 1001}})
	if m, ok := h.receive().(*wire.Done); !ok || m.ID != 1001 {
		t.Fatalf("answer to ping: %+v", m)
	}
	h.send(&wire.Info{Head: wire.Head{ID: 1002}})
	if m, ok := h.receive().(*wire.Done); !ok || m.ID != 1002 || m.Guest == nil {
		t.Fatalf("answer to info: %+v", m)
	}
	h.send(&wire.Kill{Head: wire.Head{ID: 1003}, Exec: id})
	if m, ok := h.receive().(*wire.Done); !ok || m.ID != 1003 {
		t.Fatalf("answer to kill: %+v", m)
	}
	if x, ok := h.receive().(*wire.Exited); !ok || x.ID != id || x.Reason != wire.ReasonKilled {
		t.Fatalf("its end: %+v", x)
	}
}

func TestExecBeyondTheConnectionQuotaIsRefused(t *testing.T) {
	a := startWithQuotas(t, session.Quotas{Execs: 2})
	bystander(t, a)
	h := connect(t, a)
	h.exec(1, "sleep", "1000")
	h.exec(2, "sleep", "1000")
	out := h.open()
	h.send(&wire.Exec{Head: wire.Head{ID: 3}, Argv: []string{"true"}, Stdout: out.ID()})
	wantError(t, h.receive(), 3, wire.Limit, "2 execs per connection")
	if _, err := io.ReadAll(out); err != nil {
		t.Errorf("its stream: %v", err)
	}
	if log := a.Log.String(); !strings.Contains(log, `"kind":"limit"`) {
		t.Errorf("no record of it: %s", log)
	}
	atItsLimit(t, h, 1)
	h.exec(4, "sleep", "1000")
}

func TestAllExecsQuotaCountsKeptExecs(t *testing.T) {
	a := startWithQuotas(t, session.Quotas{AllExecs: 2})
	leaver, h := connect(t, a), connect(t, a)
	leaver.send(&wire.Exec{Head: wire.Head{ID: 1}, Argv: []string{"sleep", "1000"}, OnDisconnect: wire.DisconnectKeep})
	leaver.receive()
	_ = leaver.mux.Close()
	agenttest.Eventually(t, "the agent has seen the end", func() bool { return strings.Contains(a.Log.String(), `"disconnected"`) })
	h.exec(1, "sleep", "1000")
	h.send(&wire.Exec{Head: wire.Head{ID: 2}, Argv: []string{"true"}})
	wantError(t, h.receive(), 2, wire.Limit, "2 execs in total")
	atItsLimit(t, h, 1)
}

func TestConnectionBeyondTheLimitIsRefusedByALine(t *testing.T) {
	a := startWithQuotas(t, session.Quotas{Connections: 2})
	bystander(t, a)
	h := connect(t, a)
	h.send(&wire.Ping{Head: wire.Head{ID: 1}})
	h.receive() // it has been greeted

	nc := a.Dial(t)
	_, _ = io.WriteString(nc, wire.Preface)
	line, err := bufio.NewReader(nc).ReadString('\n')
	kind, message, ok := wire.ParseRefusal([]byte(line))
	if err != nil || !ok || kind != wire.Limit || !strings.Contains(message, "2 connections") {
		t.Errorf("answer %q, %v", line, err)
	}
	_ = nc.Close()
	_ = h.mux.Close()
	agenttest.Eventually(t, "there is room again", func() bool { return served(t, a) })
}

func TestKeptExecsDoNotCountAsConnections(t *testing.T) {
	a := startWithQuotas(t, session.Quotas{Connections: 1})
	h := connect(t, a)
	h.send(&wire.Exec{Head: wire.Head{ID: 1}, Argv: []string{"sleep", "1000"}, OnDisconnect: wire.DisconnectKeep})
	h.receive()
	_ = h.mux.Close()
	agenttest.Eventually(t, "there is room again", func() bool { return served(t, a) })
}

func TestSilentConnectionsDoNotKeepAHostOut(t *testing.T) {
	const greetings = 4
	for name, says := range map[string]string{"nothing": "", "no whole line": "{", "no hello": wire.Preface} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := startWithQuotas(t, session.Quotas{Connections: 4, Greetings: greetings})
			bystander(t, a)
			for range 4 * greetings { // only greetings of them give way at a time, each after a second
				nc := a.Dial(t)
				_, _ = io.WriteString(nc, says)
			}
			connect(t, a).exec(1, "true")
		})
	}
}

func TestFloodOfSilentConnectionsIsBounded(t *testing.T) {
	a := startWithQuotas(t, session.Quotas{Greetings: 4})
	first := a.Dial(t)
	for range 4 {
		a.Dial(t)
	}
	_ = first.SetReadDeadline(time.Now().Add(agenttest.Patience))
	line, err := io.ReadAll(first)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the oldest has not given way")
	}
	if kind, message, ok := wire.ParseRefusal(bytes.TrimSuffix(line, []byte("\n"))); !ok || kind != wire.Limit || message == "" {
		t.Errorf("it was told %q, want a limit", line)
	}
}

func TestExecWithAStreamTooManyIsRefused(t *testing.T) {
	a := startWithQuotas(t, session.Quotas{QuotaConfig: mux.QuotaConfig{Streams: 2}})
	h := connect(t, a)
	h.exec(1, "sleep", "1000")
	in, out := h.open(), h.open()
	h.send(&wire.Exec{Head: wire.Head{ID: 2}, Argv: []string{"cat"}, Stdin: in.ID(), Stdout: out.ID()})
	wantError(t, h.receive(), 2, wire.Limit, "too many open streams")
	atItsLimit(t, h, 1)
}

func TestRequestBeyondTheQuotaIsRefusedAndSkipped(t *testing.T) {
	a := startWithQuotas(t, session.Quotas{Message: session.MinMessage})
	h := connect(t, a)
	h.exec(1, "sleep", "1000")
	for _, size := range []int{session.MinMessage, 1 << 20, 3 << 20} {
		h.send(&wire.Exec{Head: wire.Head{ID: 2}, Argv: []string{"true", strings.Repeat("x", size)}})
		wantError(t, h.receive(), 2, wire.Limit, "want at most 4096")
	}
	atItsLimit(t, h, 1)
}

func TestRequestsWithoutMemoryAreRefused(t *testing.T) {
	a := startWithQuotas(t, session.Quotas{QuotaConfig: mux.QuotaConfig{Input: mux.MinInput}})
	h := connect(t, a)
	h.exec(1, "sleep", "1000")
	long := []string{"true", strings.Repeat("x", 256<<10)}
	for id := range uint64(8) { // they wait for streams that do not come
		h.send(&wire.Exec{Head: wire.Head{ID: id + 2}, Argv: long, Stdout: 9999})
	}
	for {
		e, ok := h.receive().(*wire.Error)
		if !ok || e.ID < 2 || e.ID > 9 {
			t.Fatalf("answer %+v", e)
		}
		if e.Kind == wire.Limit && strings.Contains(e.Message, "memory") {
			break
		}
	}
}

func TestExecThatLosesInputEndsWithReasonLimit(t *testing.T) {
	a := startWithQuotas(t, session.Quotas{QuotaConfig: mux.QuotaConfig{Input: mux.MinInput}})
	bystander(t, a)
	h := connect(t, a)
	h.exec(1, "sleep", "1000")
	const greedy = 32 // 16 of them may have a large pipe (proc), the others more windows than there is memory for
	lost := 0
	await := func(done func(m wire.Message) bool) {
		for {
			m := h.receive()
			if x, ok := m.(*wire.Exited); ok {
				lost++
				if x.Reason != wire.ReasonLimit || x.ID < 2 {
					t.Fatalf("exit %+v, want reason %s and an id from 2 on", x, wire.ReasonLimit)
				}
			}
			if done(m) {
				return
			}
		}
	}
	for id := range uint64(greedy) {
		in := h.open()
		h.send(&wire.Exec{Head: wire.Head{ID: id + 2}, Argv: []string{"sleep", "1000"}, Stdin: in.ID()})
		await(func(m wire.Message) bool {
			e, refused := m.(*wire.Error)
			if refused && e.Kind != wire.Limit {
				t.Fatalf("refusal %+v, want %s", e, wire.Limit)
			}
			_, started := m.(*wire.Started)
			return started || refused
		})
		go func() { _, _ = in.Write(make([]byte, 2<<20)) }() // ends with the command, or the connection
	}
	if lost == 0 {
		await(func(wire.Message) bool { return lost > 0 })
	}
	h.send(&wire.Ping{Head: wire.Head{ID: 1001}})
	await(func(m wire.Message) bool { _, ok := m.(*wire.Done); return ok })
	h.send(&wire.Kill{Head: wire.Head{ID: 1002}, Exec: 1})
	for {
		if x, ok := h.receive().(*wire.Exited); ok && x.ID == 1 {
			if x.Reason != wire.ReasonKilled {
				t.Errorf("the command without input: %+v", x)
			}
			return
		}
	}
}

func TestRequestsThatWaitForOneExecAreLimited(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	h.send(&wire.Exec{Head: wire.Head{ID: 1}, Argv: []string{"true"}, Stdout: 99})
	const flood = 1025
	for id := range uint64(flood) {
		h.send(&wire.Signal{Head: wire.Head{ID: id + 2}, Exec: 1, Signal: "TERM"})
	}
	wantError(t, h.receive(), flood+1, wire.Limit, "waiting for one exec")
}
