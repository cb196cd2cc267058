//go:build linux

package session_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func accept(tb testing.TB, ln net.Listener) net.Conn {
	tb.Helper()
	nc, err := ln.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(agenttest.Patience))
	return nc
}

// ask requests a forward, whose stream is returned.
func (h *host) ask(id uint64, network, address string) *mux.Stream {
	h.tb.Helper()
	s := h.open()
	s.SetReadDeadline(time.Now().Add(agenttest.Patience))
	h.send(&wire.Forward{Head: wire.Head{ID: id}, Network: network, Address: address, Stream: s.ID()})
	return s
}

// forward also waits until it has started. It returns the service's end too.
func (h *host) forward(id uint64, ln net.Listener) (*mux.Stream, net.Conn) {
	h.tb.Helper()
	s := h.ask(id, ln.Addr().Network(), ln.Addr().String())
	if m, ok := h.receive().(*wire.Started); !ok || m.ID != id || m.PID != 0 || m.Handle != nil {
		h.tb.Fatalf("answer to forward: %+v", m)
	}
	return s, accept(h.tb, ln)
}

func wantDone(t *testing.T, m wire.Message, id uint64) {
	t.Helper()
	if m, ok := m.(*wire.Done); !ok || m.ID != id {
		t.Fatalf("the agent says %+v, want done %d", m, id)
	}
}

// wantBothDone is for a kill and its forward, which are answered in any order.
func (h *host) wantBothDone(ids ...uint64) {
	h.tb.Helper()
	for range ids {
		m, ok := h.receive().(*wire.Done)
		if !ok || !slices.Contains(ids, m.ID) {
			h.tb.Fatalf("the agent says %+v", m)
		}
		ids = slices.DeleteFunc(slices.Clone(ids), func(id uint64) bool { return id == m.ID })
	}
}

// wantReset checks that a stream was reset after what it carries.
func wantReset(t *testing.T, s *mux.Stream, text string) {
	t.Helper()
	if got, err := io.ReadAll(s); string(got) != text || !errors.Is(err, mux.ErrReset) {
		t.Errorf("the stream carries %q, %v; want %q and a reset", got, err, text)
	}
}

// wantStreams checks that no stream but the control stream is left.
func (h *host) wantNoStreams() {
	h.tb.Helper()
	agenttest.Eventually(h.tb, "all streams but the control stream have ended", func() bool { return h.mux.NumStreams() == 1 })
}

func TestForwardEndsWhenBothDirectionsHave(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			a := agenttest.Start(t)
			h := connect(t, a)
			ln := agenttest.Listen(t, network)
			stream, nc := h.forward(1, ln)
			_, _ = io.WriteString(stream, "question")
			_ = stream.Close()
			if got, err := io.ReadAll(nc); string(got) != "question" || err != nil {
				t.Errorf("the service reads %q, %v, want %q", got, err, "question")
			}
			_, _ = io.WriteString(nc, "an answer")
			_ = nc.Close()
			if got, err := io.ReadAll(stream); string(got) != "an answer" || err != nil {
				t.Errorf("the host reads %q, %v, want %q", got, err, "an answer")
			}
			wantDone(t, h.receive(), 1)
			h.wantNoStreams()
			record := fmt.Sprintf(`"forward":1,"network":%q,"address":%q`, network, ln.Addr())
			for _, want := range []string{
				`"peer":"unix:uid=`, record + `,"message":"forward started"`,
				record + `,"outcome":"ended","in_bytes":8,"out_bytes":9,"duration_ms":`, `"message":"forward ended"`,
			} {
				if !strings.Contains(a.Log.String(), want) {
					t.Errorf("no %s in the log:\n%s", want, a.Log)
				}
			}
			h.exec(1, "true") // the id is free
		})
	}
}

func TestForwardThatMakesNoSenseIsRefused(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	nobody := agenttest.Listen(t, "tcp")
	_ = nobody.Close()
	for i, test := range []struct {
		network, address string
		kind             wire.ErrorKind
		text             string
	}{
		{"tcp", "10.0.0.1:80", wire.BadRequest, "the guest itself"},
		{"tcp", "example.com:80", wire.BadRequest, "the guest itself"},
		{"udp", "localhost:80", wire.BadRequest, `network "udp"`},
		{"unix", "relative", wire.BadRequest, "absolute path"},
		{"unix", "/" + strings.Repeat("x", 1<<20), wire.BadRequest, "want at most 107"},
		{"tcp", nobody.Addr().String(), wire.NotFound, "connection refused"},
		{"unix", "/nosuch/socket", wire.NotFound, "no such file"},
	} {
		id := uint64(i + 1)
		stream := h.ask(id, test.network, test.address)
		wantError(t, h.receive(), id, test.kind, test.text)
		if got, err := io.ReadAll(stream); len(got) > 0 || err != nil {
			t.Errorf("its stream carries %q, %v", got, err)
		}
		_ = stream.Close()
	}
	h.send(&wire.Forward{Head: wire.Head{ID: 99}, Network: "tcp", Address: "localhost:80"})
	wantError(t, h.receive(), 99, wire.BadRequest, "without a stream")
	h.wantNoStreams()
	if n := strings.Count(a.Log.String(), `"forward refused"`); n != 8 || len(a.Log.String()) > 8<<10 {
		t.Errorf("%d refusals in the log:\n%s", n, a.Log)
	}
	h.exec(1, "true")
}

func TestForwardAndExecShareIDs(t *testing.T) {
	for name, m := range map[string]wire.Message{
		"exec":    &wire.Exec{Head: wire.Head{ID: 1}, Argv: []string{"true"}},
		"forward": &wire.Forward{Head: wire.Head{ID: 1}, Network: "tcp", Address: "localhost:80", Stream: 9},
		"no id":   &wire.Forward{Network: "tcp", Address: "localhost:80", Stream: 9},
	} {
		t.Run(name, func(t *testing.T) {
			h := connect(t, agenttest.Start(t))
			_, nc := h.forward(1, agenttest.Listen(t, "unix"))
			h.send(m)
			for m := h.receive(); ; m = h.receive() {
				if _, forward := m.(*wire.Done); !forward {
					wantError(t, m, 0, wire.BadRequest, "id")
					break
				}
			}
			if got, err := io.ReadAll(nc); len(got) > 0 || err != nil {
				t.Errorf("the service reads %q, %v", got, err)
			}
		})
	}
}

func TestSignalAndResizeOfAForwardAreBadRequests(t *testing.T) {
	h := connect(t, agenttest.Start(t))
	h.forward(1, agenttest.Listen(t, "tcp"))
	h.send(&wire.Signal{Head: wire.Head{ID: 2}, Exec: 1, Signal: "TERM"})
	wantError(t, h.receive(), 2, wire.BadRequest, "1 is a forward")
	h.send(&wire.Resize{Head: wire.Head{ID: 3}, Exec: 1, Rows: 1, Cols: 1})
	wantError(t, h.receive(), 3, wire.BadRequest, "1 is a forward")
}

func TestKillOfAForwardWritesSentBytesFirst(t *testing.T) {
	h := connect(t, agenttest.Start(t))
	stream, nc := h.forward(1, agenttest.Listen(t, "tcp"))
	sent := bytes.Repeat([]byte("x"), 200<<10) // within the window
	_, _ = stream.Write(sent)
	_ = stream.Close()
	h.send(&wire.Kill{Head: wire.Head{ID: 2}, Exec: 1})
	if got, err := io.ReadAll(nc); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("the service has %d bytes of %d, %v", len(got), len(sent), err)
	}
	h.wantBothDone(1, 2)
	wantReset(t, stream, "")
	h.wantNoStreams()
}

func TestForcedKillOfAForwardEndsItAtOnce(t *testing.T) {
	h := connect(t, agenttest.Start(t))
	stream, nc := h.forward(1, agenttest.Listen(t, "tcp"))
	flood := make(chan struct{})
	go func() { // ends with the forward: the service does not read
		defer close(flood)
		_, _ = stream.Write(make([]byte, 64<<20))
	}()
	h.send(&wire.Kill{Head: wire.Head{ID: 2}, Exec: 1, Force: true})
	h.wantBothDone(1, 2)
	<-flood
	if _, err := io.Copy(io.Discard, nc); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the service reads %v", err)
	}
	h.wantNoStreams()
}

func TestKillIsNotEOFToTheService(t *testing.T) {
	h := connect(t, agenttest.Start(t))
	stream, nc := h.forward(1, agenttest.Listen(t, "tcp"))
	_, _ = io.WriteString(stream, "half")
	h.send(&wire.Kill{Head: wire.Head{ID: 2}, Exec: 1})
	h.wantBothDone(1, 2)
	if _, err := io.ReadAll(nc); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the service reads %v", err)
	}
}

func TestForwardWhoseStreamTheHostResetsIsEnded(t *testing.T) {
	h := connect(t, agenttest.Start(t))
	stream, nc := h.forward(1, agenttest.Listen(t, "tcp")) // to a service that is silent
	stream.Reset()
	wantDone(t, h.receive(), 1)
	if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the service reads %v", err)
	}
	h.wantNoStreams()
}

func TestForwardOfABrokenServiceIsNotEOF(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	stream, nc := h.forward(1, agenttest.Listen(t, "tcp"))
	_, _ = io.WriteString(nc, "so far")
	_ = nc.(*net.TCPConn).SetLinger(0)
	// A reset may make the kernel drop bytes that were sent before it: read them first.
	got := make([]byte, 6)
	if _, err := io.ReadFull(stream, got); err != nil {
		t.Fatal(err)
	}
	_ = nc.Close()
	wantError(t, h.receive(), 1, wire.NotFound, "connection reset by peer")
	wantReset(t, stream, "")
	h.wantNoStreams()
	if !strings.Contains(a.Log.String(), `"outcome":"connection broken`) {
		t.Errorf("no record of it:\n%s", a.Log)
	}
}

func TestForwardIsEndedWithItsConnection(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		for name, ended := range map[string]bool{"ended": true, "cut off": false} {
			t.Run(network+"/"+name, func(t *testing.T) {
				a := agenttest.Start(t)
				h := connect(t, a)
				stream, nc := h.forward(1, agenttest.Listen(t, network))
				_, _ = io.WriteString(stream, "all")
				if ended {
					_ = stream.Close()
				}
				_ = h.mux.Close()
				got, err := io.ReadAll(nc)
				switch {
				case !ended && network == "tcp":
					if !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("the service reads %q, %v", got, err)
					}
				case err != nil || string(got) != "all":
					t.Errorf("the service reads %q, %v", got, err)
				}
				agenttest.Eventually(t, "a record", func() bool { return strings.Contains(a.Log.String(), `"forward ended"`) })
			})
		}
	}
}

func TestShutdownEndsForwardsWithAnError(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	stream, nc := h.forward(1, agenttest.Listen(t, "tcp"))
	_, _ = io.WriteString(stream, "x")
	if _, err := io.ReadFull(nc, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	flooded, _ := h.forward(2, agenttest.Listen(t, "tcp"))
	flood := make(chan struct{})
	go func() { defer close(flood); _, _ = flooded.Write(make([]byte, 64<<20)) }() // ends with the forward
	ended := make(chan struct{})
	go func() { defer close(ended); a.Shutdown(t) }()
	told := map[uint64]bool{}
	for range 2 {
		e, ok := h.receive().(*wire.Error)
		if !ok || e.Kind != wire.ShuttingDown || e.ID == 0 || told[e.ID] {
			t.Fatalf("answer to a forward at the shutdown: %+v, want %s, once for each", e, wire.ShuttingDown)
		}
		told[e.ID] = true
	}
	wantReset(t, stream, "")
	<-flood
	wantError(t, h.lose(), 0, wire.ShuttingDown, "")
	<-ended
	if _, err := nc.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the service reads %v", err)
	}
}

func TestForwardsHaveAQuotaOfTheirOwn(t *testing.T) {
	a := startWithQuotas(t, session.Quotas{Execs: 1, Forwards: 1})
	h := connect(t, a)
	ln := agenttest.Listen(t, "tcp")
	h.exec(1, "sleep", "1000")
	stream, nc := h.forward(2, ln)
	third := h.ask(3, "tcp", ln.Addr().String())
	wantError(t, h.receive(), 3, wire.Limit, "1 forwards per connection")
	if _, err := io.ReadAll(third); err != nil {
		t.Errorf("its stream: %v", err)
	}
	_, _ = stream.Close(), nc.Close()
	wantDone(t, h.receive(), 2)
	h.forward(4, ln)
	h.send(&wire.Info{Head: wire.Head{ID: 5}})
	info, ok := h.receive().(*wire.Done)
	if !ok || info.Agent == nil || info.Agent.ForwardsStarted != 2 || info.Agent.ForwardsRunning != 1 || info.Agent.ForwardsFailed != 0 {
		t.Errorf("answer to info: %+v, want 2 forwards, 1 of them open", info)
	}
}

func TestForwardWithAStreamTooManyIsRefused(t *testing.T) {
	h := connect(t, startWithQuotas(t, session.Quotas{QuotaConfig: mux.QuotaConfig{Streams: 1}}))
	h.ask(1, "tcp", agenttest.Listen(t, "tcp").Addr().String())
	wantError(t, h.receive(), 1, wire.Limit, "too many open streams")
}

// Services that read nothing hold no more than the agent has for that. A host beyond
// that gets an error, and not an end.
func TestForwardsToStuckServicesAreBounded(t *testing.T) {
	a := startWithQuotas(t, session.Quotas{QuotaConfig: mux.QuotaConfig{Input: mux.MinInput}})
	h := connect(t, a)
	ln := agenttest.Listen(t, "unix")
	const greedy = 32 // windows of 256 KiB, which is twice what there is
	lost := 0
	await := func(done func(m wire.Message) bool) {
		for {
			m := h.receive()
			if e, ok := m.(*wire.Error); ok {
				wantError(t, e, e.ID, wire.Limit, "memory")
				lost++
			}
			if done(m) {
				return
			}
		}
	}
	for id := range uint64(greedy) {
		stream := h.ask(id+1, "unix", ln.Addr().String())
		await(func(m wire.Message) bool { _, started := m.(*wire.Started); return started })
		accept(t, ln)
		go func() { _, _ = stream.Write(make([]byte, 1<<20)) }() // ends with the forward, or the connection
	}
	await(func(wire.Message) bool { return lost > 0 })
}

func TestDeniedForwardIsLoggedWithItsAddress(t *testing.T) {
	denied, err := session.Deny([]string{"forward"})
	if err != nil {
		t.Fatal(err)
	}
	a := governed(t, session.Policy{Denied: denied})
	h := connect(t, a)
	stream := h.ask(1, "tcp", "localhost:80")
	wantError(t, h.receive(), 1, wire.PermissionDenied, "forward: not allowed")
	if _, err := io.ReadAll(stream); err != nil {
		t.Errorf("its stream: %v", err)
	}
	if !strings.Contains(a.Log.String(), `"address":"localhost:80"`) {
		t.Errorf("no record:\n%s", a.Log)
	}
}

func TestKillEndsAForwardThatIsConnecting(t *testing.T) {
	// A queue that is full keeps a connection over TCP waiting.
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", sa.(*syscall.SockaddrInet4).Port)
	a := agenttest.Start(t)
	h := connect(t, a)
	const most = 4 // for which the queue has room
	for id := range uint64(most) {
		h.ask(id+1, "tcp", address)
		h.send(&wire.Ping{Head: wire.Head{ID: 1000 + id}})
	}
	h.send(&wire.Kill{Head: wire.Head{ID: 2000}, Exec: most})
	for {
		switch m := h.receive().(type) {
		case *wire.Error:
			if m.ID != most || m.Kind != wire.BadRequest || !strings.Contains(m.Message, "killed before") {
				t.Fatalf("answer to the forward: %+v, want id %d, %s and %q", m, most, wire.BadRequest, "killed before")
			}
			return
		case *wire.Started:
			if m.ID == most {
				t.Skip("the kernel's queue of connections has more room than thought")
			}
		}
	}
}
