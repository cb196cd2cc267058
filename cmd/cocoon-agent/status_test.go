package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A fakeGuest is an agent that answers each request as a test says.
type fakeGuest struct {
	hello   wire.Hello
	answers func(request wire.Message) []wire.Message
}

// serve is stopped by the end of conn.
func (f *fakeGuest) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, wire.MaxPreface)
	if err := wire.ReadPreface(in); err != nil {
		return
	}
	session := mux.Server(struct {
		io.Reader
		io.WriteCloser
	}{in, conn})
	defer session.Close()
	control, err := session.Control(context.Background())
	if err != nil {
		return
	}
	messages := bufio.NewReader(control)
	f.hello.Min, f.hello.Max = 2, 2
	_ = wire.Write(control, &f.hello)
	for {
		m, err := wire.Read(messages)
		if err != nil {
			return
		}
		if _, id := wire.About(m); id != 0 {
			for _, answer := range f.answers(m) {
				_ = wire.Write(control, answer)
			}
		}
	}
}

// connectTo connects a client to a guest of this process.
func connectTo(tb testing.TB, f *fakeGuest) *client.Client {
	tb.Helper()
	near, far := net.Pipe()
	go f.serve(far) // ends with the connection
	c, err := client.NewClient(context.Background(), near)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// ended is a guest whose commands end by x.
func ended(os string, pid int, x wire.Exited) *fakeGuest {
	return &fakeGuest{hello: wire.Hello{OS: os}, answers: func(m wire.Message) []wire.Message {
		e, ok := m.(*wire.Exec)
		if !ok {
			return nil
		}
		x.ID = e.ID
		return []wire.Message{&wire.Started{Head: e.Head, PID: pid}, &x}
	}}
}

// statusBy is what "client" exits with, and the line that it prints.
func statusBy(tb testing.TB, f *fakeGuest) (status int, line string) {
	tb.Helper()
	c := connectTo(tb, f)
	defer c.Close()
	err := c.Command("anything").Run()
	if err == nil {
		return 0, ""
	}
	return statusOf(&clientError{"vm", err})
}

func TestStatusIsZeroForSuccessAlone(t *testing.T) {
	for name, x := range map[string]struct {
		os     string
		exited wire.Exited
		status int
		line   string // begins the line; empty: there is none
	}{
		"success":                  {"linux", wire.Exited{Reason: wire.ReasonExit}, 0, ""},
		"code 7":                   {"linux", wire.Exited{Code: 7, Reason: wire.ReasonExit}, 7, ""},
		"signal 9":                 {"linux", wire.Exited{Code: -1, Signal: "KILL", SignalNumber: 9, Reason: wire.ReasonSignal}, 137, ""},
		"killed by signal 15":      {"linux", wire.Exited{Code: -1, Signal: "TERM", SignalNumber: 15, Reason: wire.ReasonKilled}, 143, ""},
		"code 256":                 {"linux", wire.Exited{Code: 256, Reason: wire.ReasonExit}, 255, "vm: exit status of process 42 lost: "},
		"signal 128":               {"linux", wire.Exited{Code: -1, SignalNumber: 128, Reason: wire.ReasonSignal}, 255, "vm: exit status of process 42 lost: "},
		"killed, and code 0":       {"linux", wire.Exited{Reason: wire.ReasonKilled}, 255, "vm: exit status 0 (ended by the host)"},
		"shut down, and code 0":    {"linux", wire.Exited{Reason: wire.ReasonShutdown}, 255, "vm: exit status 0 (agent shut down)"},
		"out of memory, and 0":     {"linux", wire.Exited{Reason: wire.ReasonLimit}, 255, "vm: exit status 0 (ended by the agent"},
		"out of time, and 0":       {"linux", wire.Exited{Reason: wire.ReasonTimeout}, 124, "vm: exit status 0 (timed out)"},
		"a later reason, and 0":    {"linux", wire.Exited{Reason: "later"}, 255, `vm: exit status 0 (reason "later")`},
		"lost":                     {"linux", wire.Exited{Reason: wire.ReasonLost}, 255, "vm: exit status of process 42 lost: "},
		"Windows, code 255":        {"windows", wire.Exited{Code: 255, Reason: wire.ReasonExit}, 255, ""},
		"Windows, code 256":        {"windows", wire.Exited{Code: 256, Reason: wire.ReasonExit}, 1, "vm: exit status 0x00000100"},
		"Windows, access denied":   {"windows", wire.Exited{Code: -1073741819, Reason: wire.ReasonExit}, 5, "vm: exit status 0xc0000005"},
		"Windows, killed, code 0":  {"windows", wire.Exited{Reason: wire.ReasonKilled}, 255, "vm: exit status 0 (ended by the host)"},
		"Windows, killed, code -1": {"windows", wire.Exited{Code: -1, Reason: wire.ReasonKilled}, 255, "vm: exit status 0xffffffff (ended by the host)"},
	} {
		t.Run(name, func(t *testing.T) {
			status, line := statusBy(t, ended(x.os, 42, x.exited))
			if status != x.status || (line == "") != (x.line == "") || !strings.HasPrefix(line, x.line) {
				t.Errorf("status %d, line %q; want %d, %q", status, line, x.status, x.line)
			}
		})
	}
}

// FuzzStatus: whatever a guest says of the end of a command, "client" exits with 0
// only if that is a success, and with a status that a shell has.
func FuzzStatus(f *testing.F) {
	for _, os := range []string{"linux", "windows"} {
		for _, reason := range []string{"exit", "signal", "timeout", "killed", "shutdown", "limit", "lost", "later"} {
			f.Add(os, 42, 0, 0, reason)
			f.Add(os, 42, 256, 0, reason)
			f.Add(os, 42, -256, 0, reason)
			f.Add(os, 42, -1, 128, reason)
			f.Add(os, 42, -1, 9, reason)
		}
	}
	f.Fuzz(func(t *testing.T, os string, pid, code, number int, reason string) {
		pid, code, number = int(int32(pid)), int(int32(code)), int(int32(number)) // what wire lets pass
		status, line := statusBy(t, ended(os, pid, wire.Exited{Code: code, SignalNumber: number, Reason: wire.Reason(reason)}))
		success := pid > 0 && code == 0 && number == 0 && reason == "exit"
		if (status == 0) != success || status < 0 || status > 255 {
			t.Errorf("status %d, line %q; want success: %t", status, line, success)
		}
	})
}
