//go:build linux

package v1_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/v1"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// soon is much less than the agent waits for hosts to close.
const soon = 10 * time.Second

func halfClose(tb testing.TB, nc net.Conn) {
	tb.Helper()
	if err := nc.(*net.UnixConn).CloseWrite(); err != nil {
		tb.Error(err)
	}
}

// wantEnd checks that the agent has ended what it sends.
func wantEnd(tb testing.TB, nc net.Conn) {
	tb.Helper()
	_ = nc.SetReadDeadline(time.Now().Add(soon))
	if n, err := nc.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		tb.Errorf("Read after the last frame = %d, %v, want EOF", n, err)
	}
}

func lastOf(t talk) v1.Frame {
	if len(t.frames) == 0 {
		return v1.Frame{}
	}
	return t.frames[len(t.frames)-1]
}

func started(a *agenttest.Agent) bool { return strings.Contains(a.Log.String(), "exec started") }

func TestAgentHalfClosesAfterTheLastFrame(t *testing.T) {
	a := agenttest.StartWith(t, func(c *session.Config) { c.Policy.Denied = []string{"reseed"} })
	for name, tc := range map[string]struct {
		says string
		last v1.Type
	}{
		"exit":            {request("x", "cat"), v1.TypeExit},
		"no such command": {exec("/no/such"), v1.TypeError},
		"invalid line":    {exec("sleep", "1000") + "hello\n", v1.TypeError},
		"reseed":          {`{"type":"reseed"}` + "\n", v1.TypeError},
	} {
		t.Run(name, func(t *testing.T) {
			nc := a.Dial(t)
			say(t, nc, tc.says)
			_ = nc.SetReadDeadline(time.Now().Add(agenttest.Patience))
			if last := lastOf(answers(t, nc)); last.Type != tc.last {
				t.Errorf("last frame %+v, want %q", last, tc.last)
			}
			wantEnd(t, nc)
			say(t, nc, stdin("late")) // the agent has closed one direction only
		})
	}
}

func TestServedHostsGiveWay(t *testing.T) {
	a := agenttest.Start(t)
	running := a.Dial(t)
	say(t, running, exec("cat"))
	agenttest.Eventually(t, "the start", func() bool { return started(a) })
	var hosts []net.Conn
	for range 300 {
		nc := a.Dial(t)
		say(t, nc, request("x", "cat"))
		_ = nc.SetReadDeadline(time.Now().Add(agenttest.Patience))
		if _, err := nc.Read(make([]byte, 1)); err != nil {
			t.Fatalf("command %d: %v", len(hosts)+1, err)
		}
		hosts = append(hosts, nc)
	}
	for i, nc := range hosts { // also those that have given way
		got := answers(t, io.MultiReader(strings.NewReader("{"), nc))
		if last := lastOf(got); string(got.stdout) != "x" || last.Type != v1.TypeExit {
			t.Errorf("command %d: %q, %+v", i+1, got.stdout, last)
		}
	}
	say(t, running, stdin("still here"))
	halfClose(t, running)
	if got := answers(t, running); string(got.stdout) != "still here" || lastOf(got).Type != v1.TypeExit {
		t.Errorf("the command that was running: %q, %+v", got.stdout, lastOf(got))
	}
	if log := a.Log.String(); strings.Contains(log, `"level":"warn"`) {
		t.Errorf("warnings: %s", log)
	}
}

func TestHostThatHasReadAnEndGivesWayAtOnce(t *testing.T) {
	a := agenttest.StartWith(t, func(c *session.Config) { c.Quotas.Connections = 1 })
	for i := range 50 {
		nc := a.Dial(t)
		say(t, nc, request("x", "cat"))
		_ = nc.SetReadDeadline(time.Now().Add(soon)) // less than the agent waits
		said, err := io.ReadAll(nc)
		if err != nil || !strings.HasSuffix(string(said), `{"type":"exit"}`+"\n") {
			t.Fatalf("command %d: %q, %v", i+1, said, err)
		}
	}
}

func TestHostsWithCommandsDoNotGiveWay(t *testing.T) {
	a := agenttest.StartWith(t, func(c *session.Config) { c.Quotas.Connections = 2 })
	for range 2 {
		nc := a.Dial(t)
		say(t, nc, exec("sleep", "1000"))
		if _, err := nc.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
	}
	nc := a.Dial(t)
	say(t, nc, request("x", "cat"))
	if last := lastOf(answers(t, nc)); last.Type != v1.TypeError || !strings.Contains(last.Message, "2 connections") {
		t.Errorf("%+v, want an error about 2 connections", last)
	}
}

func TestHalfCloseIsTheEndOfInput(t *testing.T) {
	a := agenttest.StartWith(t, func(c *session.Config) { c.Policy.Denied = []string{"reseed"} })
	many := strings.Repeat(stdin(strings.Repeat("x", 10_000)), 100)
	for name, tc := range map[string]struct {
		says, stdout string
		last         v1.Frame
	}{
		"without input":          {exec("sh", "-c", "cat; echo end; exit 3"), "end\n", v1.Frame{Type: v1.TypeExit, ExitCode: 3}},
		"behind input":           {exec("cat") + stdin("a") + stdin("b"), "ab", v1.Frame{Type: v1.TypeExit}},
		"behind stdin_close":     {request("a", "sh", "-c", "cat; sleep 0.1; echo b"), "ab\n", v1.Frame{Type: v1.TypeExit}},
		"behind unread input":    {exec("sh", "-c", "sleep 1.5; wc -c") + many, "1000000\n", v1.Frame{Type: v1.TypeExit}},
		"longer than a look":     {exec("sh", "-c", "sleep 2.5; echo x"), "x\n", v1.Frame{Type: v1.TypeExit}},
		"behind an exit":         {exec("true"), "", v1.Frame{Type: v1.TypeExit}},
		"within a line":          {exec("sleep", "1000") + `{"type":"stdin"`, "", v1.Frame{Type: v1.TypeError, Message: "no newline"}},
		"behind a broken rule":   {exec("sleep", "1000") + exec("true"), "", v1.Frame{Type: v1.TypeError, Message: "only one request"}},
		"behind a reseed":        {`{"type":"reseed"}` + "\n", "", v1.Frame{Type: v1.TypeError, Message: "policy"}},
		"behind a wrong start":   {exec("/no/such"), "", v1.Frame{Type: v1.TypeError, Message: "/no/such"}},
		"with output unread yet": {exec("head", "-c", "1000000", "/dev/zero"), strings.Repeat("\x00", 1_000_000), v1.Frame{Type: v1.TypeExit}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc := a.Dial(t)
			say(t, nc, tc.says)
			halfClose(t, nc)
			_ = nc.SetReadDeadline(time.Now().Add(agenttest.Patience))
			got := answers(t, nc)
			last := lastOf(got)
			if string(got.stdout) != tc.stdout || last.Type != tc.last.Type || last.ExitCode != tc.last.ExitCode || !strings.Contains(last.Message, tc.last.Message) {
				t.Errorf("stdout of %d bytes, %.99q, last %+v; want %d, %+v", len(got.stdout), got.stdout, last, len(tc.stdout), tc.last)
			}
			wantEnd(t, nc)
		})
	}
}

func TestHostThatIsDoneIsNotWaitedFor(t *testing.T) {
	a := agenttest.Start(t)
	nc := a.Dial(t)
	say(t, nc, exec("true"))
	halfClose(t, nc)
	agenttest.Eventually(t, "the end of the connection", func() bool { return strings.Contains(a.Log.String(), `"disconnected"`) })
	if got := lastOf(answers(t, nc)); got.Type != v1.TypeExit {
		t.Errorf("the last frame is %+v, want an exit", got)
	}
}

func TestHostThatGoesAfterHalfCloseEndsItsCommand(t *testing.T) {
	for _, argv := range [][]string{{"sleep", "1000"}, {"sh", "-c", "while sleep 0.1; do echo x; done"}, {"yes"}} {
		t.Run(argv[0], func(t *testing.T) {
			t.Parallel()
			a := agenttest.Start(t)
			nc := a.Dial(t)
			say(t, nc, exec(argv...)+stdin("x"))
			halfClose(t, nc)
			if _, err := io.ReadFull(nc, make([]byte, 20)); err != nil { // it has begun
				t.Error(err)
			}
			_ = nc.Close()
			allEnded(t, a)
		})
	}
}

func TestHangUpIsMoreThanAHalfClose(t *testing.T) {
	near, far := socketpair(t)
	if v1.HungUp(near) {
		t.Error("HungUp of a live peer")
	}
	say(t, far, "unread")
	halfClose(t, far)
	if v1.HungUp(near) {
		t.Error("HungUp of a peer that has half-closed")
	}
	_ = far.Close()
	if !v1.HungUp(near) {
		t.Error("no HungUp of a peer that has closed")
	}
	near, far = socketpair(t)
	if err := far.(*net.UnixConn).CloseRead(); err != nil {
		t.Error(err)
	}
	if !v1.HungUp(near) { // only a write can tell, as on vsock
		t.Error("no HungUp of a peer that reads nothing more")
	}
	_ = near.Close()
	if !v1.HungUp(near) {
		t.Error("no HungUp of a connection that is closed")
	}
}

func TestReseedTakesTheFirst512Bytes(t *testing.T) {
	for sent, want := range map[int]int{0: 0, 1: 1, 512: 512, 513: 512, 100_000: 512} {
		t.Run(fmt.Sprint(sent), func(t *testing.T) {
			near, far := socketpair(t)
			entropy := strings.Repeat("x", min(sent, 512)) + strings.Repeat("y", max(sent-512, 0))
			host := v1.NewHost(near, v1.NewReader(near, 4096, v1.MaxLine, nil), &v1.Frame{Type: v1.TypeReseed, Data: []byte(entropy)}, func() {})
			agent := mux.NewQuota(mux.QuotaConfig{}).Server(host)
			control, err := agent.Control(patiently(t))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := wire.Read(control); err != nil {
				t.Error(err) // hello
			}
			m, err := wire.Read(control)
			if got, ok := m.(*wire.Reseed); !ok || string(got.Entropy) != entropy[:want] {
				t.Errorf("%+v, %v, want %d bytes", m, err, want)
			}
			_ = far.Close()
			_ = agent.Close()
			host.Wait()
		})
	}
}
