//go:build linux

package session_test

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func TestProtocolViolationsEndWithAReason(t *testing.T) {
	a := agenttest.Start(t)
	bystander(t, a)
	for name, tc := range map[string]struct {
		says   func(h *host)
		reason string
	}{
		"not a message":  {func(h *host) { _, _ = h.control.Write([]byte{0, 0, 0, 1, 0xc1}) }, "malformed"},
		"too long":       {func(h *host) { _, _ = h.control.Write([]byte{0x7f, 0, 0, 0}) }, "longer than"},
		"no id":          {func(h *host) { h.send(&wire.Ping{}) }, "without an id"},
		"exec, no id":    {func(h *host) { h.send(&wire.Exec{Argv: []string{"true"}}) }, "without an id"},
		"an agent's":     {func(h *host) { h.send(&wire.Done{Head: wire.Head{ID: 1}}) }, "not a request"},
		"unknown, no id": {func(h *host) { _, _ = h.control.Write([]byte("\x00\x00\x00\x0b\x81\xa4type\xa4what")) }, "without an id"},
		"an id in use": {func(h *host) {
			h.exec(5, "sleep", "1000")
			h.send(&wire.Exec{Head: wire.Head{ID: 5}, Argv: []string{"true"}})
		}, "id 5"},
	} {
		t.Run(name, func(t *testing.T) {
			h := connect(t, a)
			tc.says(h)
			wantError(t, h.lose(), 0, wire.BadRequest, tc.reason)
		})
	}
}

func TestRequestsOfLaterVersionsAreUnsupported(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	_, _ = h.control.Write([]byte("\x00\x00\x00\x0f\x82\xa4type\xa4what\xa2id\x09"))
	wantError(t, h.receive(), 9, wire.Unsupported, `"what"`)
}

func TestExecThatNamesNoStreamOfTheHostsIsRefused(t *testing.T) {
	if testing.Short() {
		t.Skip("takes mux.ClaimTimeout")
	}
	t.Parallel()
	a := agenttest.Start(t)
	h := connect(t, a)
	h.send(&wire.Exec{Head: wire.Head{ID: 1}, Argv: []string{"true"}, Stdout: 4711})
	h.send(&wire.Ping{Head: wire.Head{ID: 2}})
	if done, ok := h.receive().(*wire.Done); !ok || done.ID != 2 {
		t.Fatal("the exec that waits holds up a ping")
	}
	wantError(t, h.receive(), 1, wire.BadRequest, "4711")
}

func TestKillAndSignalOfNoExecAreNotFound(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	h.send(&wire.Kill{Head: wire.Head{ID: 1}, Exec: 99})
	wantError(t, h.receive(), 1, wire.NotFound, "99")
	h.send(&wire.Signal{Head: wire.Head{ID: 2}, Exec: 99, Signal: "TERM"})
	wantError(t, h.receive(), 2, wire.NotFound, "99")
	h.send(&wire.Signal{Head: wire.Head{ID: 3}, Exec: 99, Signal: "NOSUCH"})
	wantError(t, h.receive(), 3, wire.BadRequest, "NOSUCH")
}

func TestSignalBehindItsExecWaitsForTheProcess(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	h.send(&wire.Exec{Head: wire.Head{ID: 1}, Argv: []string{"sleep", "1000"}})
	h.send(&wire.Signal{Head: wire.Head{ID: 2}, Exec: 1, Signal: "9"})
	var exited *wire.Exited
	for exited == nil {
		exited, _ = h.receive().(*wire.Exited)
	}
	if exited.SignalNumber != 9 || exited.Reason != wire.ReasonSignal || exited.Code != -1 {
		t.Errorf("exit %+v, want signal 9, code -1, reason %s", exited, wire.ReasonSignal)
	}
}

func TestLostConnectionEndsItsProcesses(t *testing.T) {
	a := agenttest.Start(t)
	bystander(t, a)
	h := connect(t, a)
	pid := h.exec(1, "sh", "-c", "sleep 1000 & wait").PID
	_ = h.mux.Close()
	agenttest.Eventually(t, "the process is gone", func() bool { return gone(pid) })
	agenttest.Eventually(t, "the log says so", func() bool { return strings.Contains(a.Log.String(), `"reason":"killed"`) })
}

func TestKeptExecOutlivesItsConnectionOnly(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	out := h.open()
	h.send(&wire.Exec{
		Head: wire.Head{ID: 1}, Argv: []string{"sh", "-c", "echo up; exec sleep 1000"},
		Stdout: out.ID(), OnDisconnect: wire.DisconnectKeep,
	})
	pid := h.receive().(*wire.Started).PID
	if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	_ = h.mux.Close()
	agenttest.Eventually(t, "the agent has seen the end", func() bool { return strings.Contains(a.Log.String(), `"disconnected"`) })
	h2 := connect(t, a)
	h2.send(&wire.Ping{Head: wire.Head{ID: 1}})
	h2.receive()
	if gone(pid) {
		t.Fatal("the process did not outlive its connection")
	}
	a.Shutdown(t)
	if !gone(pid) {
		t.Error("the process has outlived the agent")
	}
}

func TestShutdownReportsExitsAndRefusesExecs(t *testing.T) {
	a := patient(t)
	h := connect(t, a)
	out := h.open()
	h.send(&wire.Exec{
		Head: wire.Head{ID: 1}, Stdout: out.ID(),
		Argv: []string{"sh", "-c", "trap 'echo last words; exit 3' TERM; echo up; while :; do sleep 0.01; done"},
	})
	h.receive()
	if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { a.Shutdown(t); close(done) }()
	x, ok := h.receive().(*wire.Exited)
	if !ok || x.Code != 3 || x.Reason != wire.ReasonShutdown {
		t.Errorf("exit %+v, want code 3, reason %s", x, wire.ReasonShutdown)
	}
	last, err := io.ReadAll(out)
	if string(last) != "last words\n" || err != nil {
		t.Errorf("output %q, %v", last, err)
	}
	wantError(t, h.lose(), 0, wire.ShuttingDown, "shutting down")
	<-done
}

// patient returns an agent whose shutdown gives commands, on a machine that may be
// busy, the time that they need to exit by themselves.
func patient(t *testing.T) *agenttest.Agent {
	t.Helper()
	return agenttest.StartWith(t, func(c *session.Config) { c.ShutdownGrace = agenttest.Patience / 2 })
}

func TestShutdownEndsWhatIgnoresSIGTERM(t *testing.T) {
	t.Cleanup(session.SetReportTime(agenttest.Patience / 2)) // this machine may be busy
	a := agenttest.Start(t)
	h := connect(t, a)
	out := h.open()
	h.send(&wire.Exec{
		Head: wire.Head{ID: 1}, Stdout: out.ID(),
		Argv: []string{"sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"},
	})
	h.receive()
	if _, err := io.ReadFull(out, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(a.Log)
		}
	})
	a.Shutdown(t)
	if x, ok := h.receive().(*wire.Exited); !ok || x.SignalNumber != 9 || x.Reason != wire.ReasonShutdown {
		t.Errorf("exit %+v, want signal 9, reason %s", x, wire.ReasonShutdown)
	}
}

func TestShutdownDoesNotWaitForStuckHosts(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	out := h.open()
	h.send(&wire.Exec{Head: wire.Head{ID: 1}, Stdout: out.ID(), Argv: []string{"yes"}})
	pid := h.receive().(*wire.Started).PID
	a.Shutdown(t) // fails the test when it takes too long
	if !gone(pid) {
		t.Error("the process lives")
	}
}

func TestHostThatReadsNoAnswersIsCutOff(t *testing.T) {
	a := agenttest.Start(t)
	bystander(t, a)
	h := connect(t, a)
	pid := h.exec(1, "sleep", "1000").PID
	ping, err := wire.Append(nil, &wire.Ping{Head: wire.Head{ID: 1 << 60}})
	if err != nil {
		t.Fatal(err)
	}
	flood := bytes.Repeat(ping, 1000)
	for {
		if _, err := h.control.Write(flood); err != nil {
			break
		}
	}
	agenttest.Eventually(t, "its process is gone", func() bool { return gone(pid) })
	agenttest.Eventually(t, "the log says why", func() bool { return strings.Contains(a.Log.String(), "does not read the control stream") })
}

func TestAuditRecordsSayWhoRanWhatAndHowItEnded(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	h.send(&wire.Exec{Head: wire.Head{ID: 1}, Argv: []string{"sh", "-c", "exit 4", "secret"}, Env: []string{"TOKEN=secret"}})
	h.receive()
	h.receive()
	log := a.Log.String()
	for _, want := range []string{
		`"message":"exec started"`, `"message":"exec ended"`, `"peer":"unix:uid=`, `"argv0":"sh"`, `"argc":4`,
		`"pid":`, `"code":4`, `"reason":"exit"`, `"duration_ms":`, `"stdout_bytes":0`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in the log:\n%s", want, log)
		}
	}
	if strings.Contains(log, "secret") {
		t.Errorf("the log has arguments or environment:\n%s", log)
	}
}

func TestNotesAreInTheAnswerAndTheLog(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("an ordinary user becomes nobody else")
	}
	a := agenttest.Start(t)
	h := connect(t, a)
	h.send(&wire.Exec{Head: wire.Head{ID: 1}, Argv: []string{"true"}, User: "3999999999"})
	if m, ok := h.receive().(*wire.Started); !ok || !slices.Equal(m.Notes, []string{"unknown_uid"}) {
		t.Errorf("answer %+v, want the note unknown_uid", m)
	}
	h.receive()
	if log := a.Log.String(); !strings.Contains(log, `"notes":["unknown_uid"]`) {
		t.Errorf("no notes in the log:\n%s", log)
	}
}

// The answer to a request about an exec that waits for its streams comes when
// the exec does, which may be after the connection.
func TestWaitingRequestsOutliveTheConnection(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	h.send(&wire.Exec{Head: wire.Head{ID: 1}, Argv: []string{"true"}, Stdout: 99})
	h.send(&wire.Signal{Head: wire.Head{ID: 2}, Exec: 1, Signal: "TERM"})
	h.send(&wire.Ping{Head: wire.Head{ID: 3}})
	if m, ok := h.receive().(*wire.Done); !ok || m.ID != 3 {
		t.Fatalf("answer to ping: %+v", m)
	}
	h.send(&wire.Started{Head: wire.Head{ID: 4}}) // breaks the rules: the agent ends the connection
	wantError(t, h.lose(), 0, wire.BadRequest, "not a request")
	agenttest.Eventually(t, "the exec is refused", func() bool { return strings.Contains(a.Log.String(), `"exec refused"`) })
	bystander(t, a)
}

func TestBurstOfRequestsIsAnsweredInFull(t *testing.T) {
	const burst = 5000
	h := connect(t, agenttest.Start(t))
	var pings []byte
	for id := range uint64(burst) {
		var err error
		if pings, err = wire.Append(pings, &wire.Ping{Head: wire.Head{ID: id + 1}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.control.Write(pings); err != nil {
		t.Fatal(err)
	}
	for id := range uint64(burst) {
		if m, ok := h.receive().(*wire.Done); !ok || m.ID != id+1 {
			t.Fatalf("answer %d: %+v", id+1, m)
		}
	}
}

func TestIDIsFreeAfterItsExecIsAnswered(t *testing.T) {
	h := connect(t, agenttest.Start(t))
	for range 200 {
		h.exec(1, "true")
		if x, ok := h.receive().(*wire.Exited); !ok || x.ID != 1 {
			t.Fatalf("answer %+v, want the exit of exec 1", x)
		}
		h.send(&wire.Exec{Head: wire.Head{ID: 1}, Argv: []string{"no-such-command"}})
		wantError(t, h.receive(), 1, wire.NotFound, "no-such-command")
	}
}

func TestKeptExecsInputOutlivesTheConnection(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	in, ended := h.open(), t.TempDir()+"/ended"
	h.send(&wire.Exec{
		Head: wire.Head{ID: 1}, Argv: []string{"sh", "-c", `cat >"$0.got"; echo >"$0"`, ended},
		Stdin: in.ID(), OnDisconnect: wire.DisconnectKeep,
	})
	if _, ok := h.receive().(*wire.Started); !ok {
		t.Fatal("it has not started")
	}
	if _, err := io.WriteString(in, "half"); err != nil {
		t.Fatal(err)
	}
	_ = h.mux.Close()
	agenttest.Eventually(t, "it has the input", func() bool { got, _ := os.ReadFile(ended + ".got"); return string(got) == "half" })
	agenttest.Eventually(t, "the agent has seen the end", func() bool { return strings.Contains(a.Log.String(), `"disconnected"`) })
	connect(t, a).exec(1, "true") // which takes longer than an end of input
	if _, err := os.Stat(ended); err == nil {
		t.Error("its input has ended")
	}
}
