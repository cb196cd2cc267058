//go:build linux

package session_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A host is a connection to an agent that says what a test tells it to.
type host struct {
	tb      testing.TB
	mux     *mux.Session
	control *mux.Stream
	in      *bufio.Reader
}

// connect gets as far as the agent's hello, and says its own.
func connect(tb testing.TB, a *agenttest.Agent) *host {
	tb.Helper()
	h := silent(tb, a)
	h.send(&wire.Hello{Min: 2, Max: 2})
	return h
}

func silent(tb testing.TB, a *agenttest.Agent) *host {
	tb.Helper()
	nc := a.Dial(tb)
	if _, err := io.WriteString(nc, wire.Preface); err != nil {
		tb.Fatal(err)
	}
	h := &host{tb: tb}
	var err error
	if h.mux, h.control, err = mux.Client(nc, ""); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = h.mux.Close() })
	h.in = bufio.NewReader(h.control)
	if _, ok := h.receive().(*wire.Hello); !ok {
		tb.Fatal("the agent's first message is not hello")
	}
	return h
}

func (h *host) send(m wire.Message) {
	h.tb.Helper()
	if err := wire.Write(h.control, m); err != nil {
		h.tb.Fatalf("host: %v", err)
	}
}

func (h *host) receive() wire.Message {
	h.tb.Helper()
	h.control.SetReadDeadline(time.Now().Add(agenttest.Patience))
	m, err := wire.Read(h.in)
	if err != nil {
		h.tb.Fatalf("host: %v", err)
	}
	return m
}

func (h *host) open() *mux.Stream {
	h.tb.Helper()
	s, err := h.mux.Open()
	if err != nil {
		h.tb.Fatal(err)
	}
	return s
}

// lose waits for the agent to end the connection, and returns what it said last.
func (h *host) lose() (last wire.Message) {
	h.tb.Helper()
	h.control.SetReadDeadline(time.Now().Add(agenttest.Patience))
	for {
		m, err := wire.Read(h.in)
		if err != nil {
			if h.mux.Err() == nil {
				h.tb.Fatalf("the agent has not ended the connection: %v", err)
			}
			return last
		}
		last = m
		if e, ok := m.(*wire.Error); ok && e.ID == 0 {
			_ = h.mux.Close() // as a host does after a goodbye
		}
	}
}

func (h *host) exec(id uint64, argv ...string) *wire.Started {
	h.tb.Helper()
	h.send(&wire.Exec{Head: wire.Head{ID: id}, Argv: argv})
	s, ok := h.receive().(*wire.Started)
	if !ok || s.ID != id || len(s.Handle) != 16 {
		h.tb.Fatalf("answer to exec: %+v", s)
	}
	return s
}

func wantError(t *testing.T, m wire.Message, id uint64, kind wire.ErrorKind, text string) {
	t.Helper()
	e, ok := m.(*wire.Error)
	if !ok || e.ID != id || e.Kind != kind || !strings.Contains(e.Message, text) {
		t.Fatalf("the agent says %+v, want error %d %s with %q", m, id, kind, text)
	}
}

// eventually waits for what another process or goroutine is about to bring about.
func eventually(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	deadline := time.Now().Add(agenttest.Patience)
	for !done() {
		if time.Now().After(deadline) {
			tb.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // the poll's interval, not a synchronisation
	}
}

func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || bytes.Contains(stat, []byte(") Z")) || bytes.Contains(stat, []byte(") X"))
}

// bystander runs a command on a connection of its own, which goes on whatever
// happens to others; the end of the test finds out.
func bystander(t *testing.T, a *agenttest.Agent) {
	t.Helper()
	h := connect(t, a)
	in, out := h.open(), h.open()
	h.send(&wire.Exec{Head: wire.Head{ID: 1}, Argv: []string{"cat"}, Stdin: in.ID(), Stdout: out.ID()})
	h.receive()
	t.Cleanup(func() {
		_, _ = io.WriteString(in, "still here")
		_ = in.Close()
		got, err := io.ReadAll(out)
		x, ok := h.receive().(*wire.Exited)
		if string(got) != "still here" || err != nil || !ok || x.Code != 0 || x.StdoutBytes != 10 {
			t.Errorf("the bystander got %q, %v, %+v", got, err, x)
		}
	})
}

func TestRefusedPrefaceIsAnsweredByALine(t *testing.T) {
	a := agenttest.Start(t)
	bystander(t, a)
	for name, tc := range map[string]struct{ says, answer string }{
		"version 3":       {`{"type":"cocoon-agent/3"}` + "\n", `protocol \"cocoon-agent/3\" is not spoken here`},
		"not JSON":        {"GET / HTTP/1.1\r\n\r\n", "not a JSON object"},
		"no type":         {"{}\n", "not a JSON object with a type"},
		"too long":        {strings.Repeat("x", wire.MaxPreface+1), "longer than 4096 bytes"},
		"and binary":      {"\x00\x01\x02\n", "not a JSON object"},
		"with more after": {"nonsense\n" + strings.Repeat("y", 1<<16), "not a JSON object"},
	} {
		t.Run(name, func(t *testing.T) {
			nc := a.Dial(t)
			go func() { _, _ = io.WriteString(nc, tc.says) }()
			line, err := bufio.NewReader(nc).ReadString('\n')
			if err != nil || !strings.HasPrefix(line, `{"type":"error","message":"`) || !strings.Contains(line, tc.answer) {
				t.Errorf("answer %q, error %v", line, err)
			}
		})
	}
}

func TestPrefaceMayComeInPieces(t *testing.T) {
	a := agenttest.Start(t)
	near, far := net.Pipe()
	nc := a.Dial(t)
	go func() { _, _ = io.Copy(&bytewise{nc}, far); _ = nc.Close() }()
	go func() { _, _ = io.Copy(far, nc); _ = far.Close() }()
	if _, err := io.WriteString(near, wire.Preface); err != nil {
		t.Fatal(err)
	}
	m, control, err := mux.Client(near, "")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if hello, err := wire.Read(control); err != nil {
		t.Fatalf("%+v, %v", hello, err)
	}
}

type bytewise struct{ io.Writer }

func (b *bytewise) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := b.Writer.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func TestConnectionCutWithinThePrefaceHarmsNobody(t *testing.T) {
	a := agenttest.Start(t)
	bystander(t, a)
	for n := range len(wire.Preface) {
		nc := a.Dial(t)
		_, _ = io.WriteString(nc, wire.Preface[:n])
		_ = nc.Close()
	}
}

func TestBytesThatAreNotYamuxEndTheConnectionAlone(t *testing.T) {
	a := agenttest.Start(t)
	bystander(t, a)
	frame := func(version, kind byte, flags uint16, id, length uint32) []byte {
		b := []byte{version, kind}
		b = binary.BigEndian.AppendUint16(b, flags)
		b = binary.BigEndian.AppendUint32(b, id)
		return binary.BigEndian.AppendUint32(b, length)
	}
	noise := make([]byte, 1<<16)
	_, _ = rand.Read(noise)
	noise[0] = 0xff
	const syn = 1
	for name, bytes := range map[string][]byte{
		"random":                 noise,
		"another version":        frame(1, 0, syn, 1, 0),
		"an unknown type":        frame(0, 9, syn, 1, 0),
		"a duplicate stream":     append(frame(0, 1, syn, 1, 0), frame(0, 1, syn, 1, 0)...),
		"data beyond the window": append(frame(0, 1, syn, 1, 0), frame(0, 0, 0, 1, 1<<31)...),
		"a strange go-away":      frame(0, 3, 0, 0, 77),
	} {
		t.Run(name, func(t *testing.T) {
			nc := a.Dial(t)
			_, _ = io.WriteString(nc, wire.Preface)
			_, _ = nc.Write(bytes)
			_ = nc.SetReadDeadline(time.Now().Add(agenttest.Patience))
			if _, err := io.Copy(io.Discard, nc); os.IsTimeout(err) {
				t.Error("the connection is still open")
			}
		})
	}
}

func TestMessagesThatBreakTheRulesEndTheConnectionWithAReason(t *testing.T) {
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

func TestFirstMessageMustBeHello(t *testing.T) {
	a := agenttest.Start(t)
	h := silent(t, a)
	h.send(&wire.Ping{Head: wire.Head{ID: 1}})
	wantError(t, h.lose(), 0, wire.BadRequest, "not hello")
}

func TestNoVersionInCommonIsSaid(t *testing.T) {
	a := agenttest.Start(t)
	h := silent(t, a)
	h.send(&wire.Hello{Min: 3, Max: 9})
	wantError(t, h.lose(), 0, wire.Unsupported, "the host speaks 3 to 9")
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
		t.Errorf("%+v", exited)
	}
}

func TestLostConnectionEndsItsProcesses(t *testing.T) {
	a := agenttest.Start(t)
	bystander(t, a)
	h := connect(t, a)
	pid := h.exec(1, "sh", "-c", "sleep 1000 & wait").PID
	_ = h.mux.Close()
	eventually(t, "the process is gone", func() bool { return gone(pid) })
	eventually(t, "the log says so", func() bool { return strings.Contains(a.Log.String(), `"reason":"killed"`) })
}

func TestKeptProcessOutlivesItsConnectionAndNotTheAgent(t *testing.T) {
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
	eventually(t, "the agent has seen the end", func() bool { return strings.Contains(a.Log.String(), `"disconnected"`) })
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
	a := agenttest.Start(t)
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
		t.Errorf("%+v", x)
	}
	last, err := io.ReadAll(out)
	if string(last) != "last words\n" || err != nil {
		t.Errorf("output %q, %v", last, err)
	}
	wantError(t, h.lose(), 0, wire.ShuttingDown, "shutting down")
	<-done
}

func TestShutdownEndsWhatIgnoresSIGTERM(t *testing.T) {
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
	a.Shutdown(t)
	if x, ok := h.receive().(*wire.Exited); !ok || x.SignalNumber != 9 || x.Reason != wire.ReasonShutdown {
		t.Errorf("%+v", x)
	}
}

func TestShutdownDoesNotWaitForAHostThatDoesNotRead(t *testing.T) {
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
	eventually(t, "its process is gone", func() bool { return gone(pid) })
	eventually(t, "the log says why", func() bool { return strings.Contains(a.Log.String(), "control stream is not being read") })
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

// The answer to a request about an exec that waits for its streams comes when
// the exec does, which may be after the connection.
func TestRequestsThatWaitForAnExecOutliveTheConnection(t *testing.T) {
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
	eventually(t, "the exec is refused", func() bool { return strings.Contains(a.Log.String(), `"exec refused"`) })
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

func TestIDMayBeUsedAgainOnceItsExecHasBeenAnswered(t *testing.T) {
	h := connect(t, agenttest.Start(t))
	for range 200 {
		h.exec(1, "true")
		if x, ok := h.receive().(*wire.Exited); !ok || x.ID != 1 {
			t.Fatalf("%+v", x)
		}
		h.send(&wire.Exec{Head: wire.Head{ID: 1}, Argv: []string{"no-such-command"}})
		wantError(t, h.receive(), 1, wire.NotFound, "no-such-command")
	}
}

func TestKeptCommandsInputDoesNotEndWithTheConnection(t *testing.T) {
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
	eventually(t, "it has the input", func() bool { got, _ := os.ReadFile(ended + ".got"); return string(got) == "half" })
	eventually(t, "the agent has seen the end", func() bool { return strings.Contains(a.Log.String(), `"disconnected"`) })
	connect(t, a).exec(1, "true") // which takes longer than an end of input
	if _, err := os.Stat(ended); err == nil {
		t.Error("its input has ended")
	}
}
