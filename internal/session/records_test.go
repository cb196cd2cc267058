//go:build linux

package session_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A command that ends the agent first thing has left its record before.
func TestExecIsRecordedBeforeItStarts(t *testing.T) {
	var a *agenttest.Agent
	recorded := make(chan string, 1)
	a = agenttest.StartWith(t, func(c *session.Config) {
		c.Recording = func() session.Recorded {
			return func(func(error)) (bool, error) {
				recorded <- a.Log.String()
				return true, errors.New("the log is full")
			}
		}
	})
	h := connect(t, a)
	h.send(&wire.Exec{
		Head: wire.Head{ID: 1}, Argv: []string{"sh", "-c", "secret"}, Env: []string{"TOKEN=hidden", "B=c"}, Dir: "/tmp", User: "0",
		TimeoutMS: 1500, OnDisconnect: wire.DisconnectKeep,
	})
	wantError(t, h.receive(), 1, wire.Limit, "the log is full")
	log := <-recorded
	want := `"exec":1,"argv0":"sh","argc":3,"user":"0","tty":false,"dir":"/tmp","env":["TOKEN","B"],` +
		`"timeout_ms":1500,"keep":true,"message":"exec requested"`
	if !strings.Contains(log, want) {
		t.Errorf("before the start the log has %s, want %s", log, want)
	}
	for _, unwanted := range []string{"hidden", "secret", "exec started"} {
		if strings.Contains(log, unwanted) {
			t.Errorf("before the start the log has %q: %s", unwanted, log)
		}
	}
	if log := a.Log.String(); strings.Contains(log, "exec started") {
		t.Errorf("an exec has started that could not be recorded: %s", log)
	}
}

// Records that a host can cause as often as it likes do not fill the log.
func TestFloodOfDeniedRequestsIsCounted(t *testing.T) {
	a := governed(t, session.Policy{Denied: []string{"signal"}})
	h := connect(t, a)
	const flood = 5000
	go func() { // ends with the last message, or the connection
		for id := range uint64(flood) {
			_ = wire.Write(h.control, &wire.Signal{Head: wire.Head{ID: id + 1}, Exec: 1, Signal: "TERM"})
		}
	}()
	for id := range uint64(flood) {
		wantError(t, h.receive(), id+1, wire.PermissionDenied, "signal")
	}
	a.Shutdown(t) // reports what was left out
	log := a.Log.String()
	records, leftOut := strings.Count(log, `"request denied"`), 0
	for line := range strings.Lines(log) {
		if strings.Contains(line, `"kind":"signal denied `) {
			_, after, _ := strings.Cut(line, `"left_out":`)
			n := 0
			_, _ = fmt.Sscanf(after, "%d", &n)
			leftOut += n
		}
	}
	if records+leftOut != flood || records > flood/2 {
		t.Errorf("%d records and %d left out, want %d in all, most of them left out", records, leftOut, flood)
	}
}

// A user of the guest may connect over loopback as often as it likes.
func TestFloodOfRefusedPeersIsCounted(t *testing.T) {
	a := agenttest.StartWith(t, func(c *session.Config) {
		c.Admit = func(net.Conn) (session.Peer, error) {
			return session.Peer{Name: "vsock://1:77", Class: "vsock://1"}, errors.New("CID 1 is not the host")
		}
	})
	const flood = 500
	for range flood {
		nc := a.Dial(t)
		if n, err := nc.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Fatalf("a refused peer reads %d bytes, %v", n, err)
		}
	}
	a.Shutdown(t)
	log := a.Log.String()
	if n := strings.Count(log, `"peer refused"`); n < 1 || n > 5 { // a slow machine takes more than 10 s
		t.Errorf("%d records of single peers, want one in 10 s: %s", n, log)
	}
	if !strings.Contains(log, `"message":"peers refused"`) {
		t.Errorf("no record of how many were refused: %s", log)
	}
}

// Nor does a request whose form is wrong, before the policy is asked.
func TestFloodOfMalformedRequestsIsCounted(t *testing.T) {
	a := governed(t, session.Policy{Denied: session.Verbs()})
	h := connect(t, a)
	const flood = 3000
	go func() { // ends with the last message, or the connection
		for id := range uint64(flood) {
			_ = wire.Write(h.control, &wire.Forward{Head: wire.Head{ID: id + 1}, Network: "tcp", Address: "nonsense"})
		}
	}()
	for id := range uint64(flood) {
		wantError(t, h.receive(), id+1, wire.BadRequest, "")
	}
	if n := strings.Count(a.Log.String(), `"forward refused"`); n == 0 || n > flood/2 {
		t.Errorf("%d records of %d malformed requests, want most of them left out", n, flood)
	}
}

// A kill that ends something has its record, whatever was killed in vain before.
func TestKillIsRecordedBehindAFloodOfOthers(t *testing.T) {
	a := agenttest.Start(t)
	victim := connect(t, a).exec(1, "sleep", "1000")
	h := connect(t, a)
	const flood = 500
	go func() { // ends with the last message, or the connection
		for id := range uint64(flood) {
			_ = wire.Write(h.control, &wire.Kill{Head: wire.Head{ID: id + 1}, Exec: 999, Force: true})
		}
		_ = wire.Write(h.control, &wire.Kill{Head: wire.Head{ID: flood + 1}, Handle: victim.Handle, Force: true})
	}()
	for range flood + 1 {
		h.receive()
	}
	if want := fmt.Sprintf(`"handle":"%x","force":true,"message":"exec kill"`, victim.Handle); !strings.Contains(a.Log.String(), want) {
		t.Errorf("no record with %s", want)
	}
}

// Nothing that an exec leaves behind outlives its time by holding its output open.
func TestTimeoutHoldsAfterTheMainProcessHasExited(t *testing.T) {
	h := connect(t, agenttest.StartWith(t, func(c *session.Config) { c.Ceilings.Time = 2 * time.Second }))
	out := h.open()
	h.send(&wire.Exec{
		Head: wire.Head{ID: 1}, Argv: []string{"sh", "-c", "(while :; do echo tick; sleep 0.1; done) & exit 0"}, Stdout: out.ID(),
	})
	go func() { _, _ = io.Copy(io.Discard, out) }() // ends with the stream
	if _, ok := h.receive().(*wire.Started); !ok {
		t.Fatal("it has not started")
	}
	if x, ok := h.receive().(*wire.Exited); !ok || x.Code != 0 {
		t.Errorf("the end of the exec: %+v, want code 0", x)
	}
}

// Answers that nobody reads hold no lists.
func TestUnreadAnswersToExecsAreSmall(t *testing.T) {
	a := agenttest.Start(t)
	runner := connect(t, a)
	for id := range uint64(200) {
		runner.exec(id+1, "sleep", "1000")
	}
	h := connect(t, a)
	before := heap()
	for id := range uint64(8000) {
		h.send(&wire.Execs{Head: wire.Head{ID: id + 1}})
	}
	agenttest.Eventually(t, "the answers wait", func() bool {
		h.send(&wire.Ping{Head: wire.Head{ID: 9000}})
		return session.WaitingAnswers(a.Server()) > 1000
	})
	if grown := heap() - before; grown > 16<<20 {
		t.Errorf("%d MiB for answers that nobody reads, want less than 16", grown>>20)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
