//go:build linux

package session_test

import (
	"bufio"
	"bytes"
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
	return greetedBy(tb, a.Dial(tb))
}

// greetedBy gets as far as the hello of the agent at the other end of nc.
func greetedBy(tb testing.TB, nc net.Conn) *host {
	tb.Helper()
	h := &host{tb: tb}
	var err error
	if h.mux, h.control, err = mux.Client(nc, wire.Preface); err != nil {
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
