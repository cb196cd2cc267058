//go:build linux

package session_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// detached is a request for a shell script that outlives its connection.
func detached(id uint64, script string) *wire.Exec {
	return &wire.Exec{
		Head: wire.Head{ID: id}, Argv: []string{"sh", "-c", script},
		Keeping: wire.Keeping{Detach: true},
	}
}

// begin sends a request that begins something, and returns its answer.
func (h *host) begin(m wire.Message) *wire.Started {
	h.tb.Helper()
	h.send(m)
	started, ok := h.receive().(*wire.Started)
	if !ok || len(started.Handle) != 16 || started.PID < 1 {
		h.tb.Fatalf("answer to %+v: %+v", m, started)
	}
	return started
}

// exited receives the end of request id.
func (h *host) exited(id uint64) *wire.Exited {
	h.tb.Helper()
	m := h.receive()
	x, ok := m.(*wire.Exited)
	if !ok || x.ID != id {
		h.tb.Fatalf("the agent says %+v, want exited of %d", m, id)
	}
	return x
}

func readAll(t *testing.T, s *mux.Stream) string {
	t.Helper()
	s.SetReadDeadline(time.Now().Add(agenttest.Patience))
	text, err := io.ReadAll(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDetachedExecOutlivesItsConnection(t *testing.T) {
	a := agenttest.Start(t)
	first := connect(t, a)
	in, out, errs := first.open(), first.open(), first.open()
	m := detached(1, "echo one; echo uno >&2; read line; echo $line; cat; exit 7")
	m.Stdin, m.Stdout, m.Stderr = in.ID(), out.ID(), errs.ID()
	started := first.begin(m)
	got := make([]byte, 4)
	if _, err := io.ReadFull(out, got); err != nil || string(got) != "one\n" {
		t.Fatalf("stdout begins with %q, %v", got, err)
	}
	_ = first.mux.Close()

	h := connect(t, a)
	agenttest.Eventually(t, "the end of the first connection", func() bool { return !h.list(1)[0].Connected })
	state := h.list(1)[0]
	if !state.Detached || !state.Keep || state.StdoutBytes != 4 || state.StderrBytes != 4 || state.Exited != nil {
		t.Errorf("execs: %+v, want a detached one with 4 bytes of each output", state)
	}
	in, out, errs = h.open(), h.open(), h.open()
	again := h.begin(&wire.Attach{
		Head: wire.Head{ID: 2}, Handle: started.Handle, Stdin: in.ID(), Stdout: out.ID(), Stderr: errs.ID(), StdoutOffset: 4,
	})
	if again.PID != started.PID || !bytes.Equal(again.Handle, started.Handle) || again.StdoutOffset != 4 || again.StderrOffset != 0 {
		t.Errorf("attach is answered by %+v, want the first exec and stdout from 4", again)
	}
	_, _ = io.WriteString(in, "two\nthree\n")
	_ = in.Close()
	if text := readAll(t, out); text != "two\nthree\n" {
		t.Errorf("stdout from 4 = %q", text)
	}
	if text := readAll(t, errs); text != "uno\n" {
		t.Errorf("stderr = %q", text)
	}
	if x := h.exited(2); x.Code != 7 || x.Reason != wire.ReasonExit || x.StdoutBytes != 14 || x.StderrBytes != 4 {
		t.Errorf("exited: %+v, want code 7 and 14 and 4 bytes", x)
	}
}

func TestHostLeavesDetachedExec(t *testing.T) {
	h := connect(t, agenttest.Start(t))
	in, out := h.open(), h.open()
	m := detached(1, "cat; exit 5")
	m.Stdin, m.Stdout = in.ID(), out.ID()
	handle := h.begin(m).Handle
	for id := uint64(1); id < 4; id++ {
		_, _ = io.WriteString(in, "line\n")
		if _, err := io.ReadFull(out, make([]byte, 5)); err != nil {
			t.Fatal(err)
		}
		in.Reset()
		out.Reset()
		h.send(&wire.Leave{Head: wire.Head{ID: 10 + id}, Exec: id})
		answers := map[uint64]bool{}
		for range 2 {
			if done, ok := h.receive().(*wire.Done); ok {
				answers[done.ID] = true
			}
		}
		if !answers[id] || !answers[10+id] {
			t.Fatalf("done of %v, want of %d and %d", answers, id, 10+id)
		}
		agenttest.Eventually(t, "a free stdin", func() bool {
			in, out = h.open(), h.open()
			h.send(&wire.Attach{Head: wire.Head{ID: id + 1}, Handle: handle, Stdin: in.ID(), Stdout: out.ID(), From: wire.FromNow})
			_, ok := h.receive().(*wire.Started)
			return ok
		})
	}
	_ = in.Close()
	if x := h.exited(4); x.Code != 5 || x.StdoutBytes != 15 {
		t.Errorf("exited: %+v, want code 5 and 15 bytes", x)
	}
	h.exec(20, "sleep", "1000")
	h.send(&wire.Leave{Head: wire.Head{ID: 21}, Exec: 20})
	wantError(t, h.receive(), 21, wire.BadRequest, "neither an attach nor a detached exec")
	h.send(&wire.Leave{Head: wire.Head{ID: 22}, Exec: 99})
	wantError(t, h.receive(), 22, wire.NotFound, "no running exec")
}

// The newest writer of stdin takes the place of the one before, which may be of a
// connection that is dead without the agent's knowing.
func TestNewestAttachWritesStdin(t *testing.T) {
	a := agenttest.Start(t)
	first := connect(t, a)
	in, out := first.open(), first.open()
	m := detached(1, "cat")
	m.Stdin, m.Stdout = in.ID(), out.ID()
	handle := first.begin(m).Handle
	_, _ = io.WriteString(in, "first\n")
	if _, err := io.ReadFull(out, make([]byte, 6)); err != nil {
		t.Fatal(err)
	}
	h := connect(t, a)
	in2, out2 := h.open(), h.open()
	h.begin(&wire.Attach{Head: wire.Head{ID: 1}, Handle: handle, Stdin: in2.ID(), Stdout: out2.ID(), StdoutOffset: 6})
	_, _ = io.WriteString(in, "late\n")
	_ = in.Close()
	_, _ = io.WriteString(in2, "second\n")
	_ = in2.Close()
	if text := readAll(t, out2); text != "second\n" {
		t.Errorf("stdout = %q, want what the second one has written", text)
	}
	h.exited(1)
	first.exited(1)
	h.send(&wire.Attach{Head: wire.Head{ID: 2}, Handle: handle, Stdin: h.open().ID()})
	wantError(t, h.receive(), 2, wire.BadRequest, "stdin has ended")
}

// The end of one host's typing is typed, and another host may type on.
func TestEachHostTypesIntoDetachedTerminal(t *testing.T) {
	h := connect(t, agenttest.Start(t))
	m := detached(1, "cat >/dev/null; echo end 0; cat >/dev/null; echo end 1; exit 4")
	m.TTY = &wire.TTY{}
	handle := h.begin(m).Handle
	for id := range uint64(2) {
		in, out := h.open(), h.open()
		h.begin(&wire.Attach{Head: wire.Head{ID: id + 2}, Handle: handle, Stdin: in.ID(), Stdout: out.ID(), From: wire.FromNow})
		_, _ = io.WriteString(in, "typed\n")
		_ = in.Close()
		for text := ""; !strings.Contains(text, fmt.Sprintf("end %d", id)); {
			p := make([]byte, 1)
			if _, err := io.ReadFull(out, p); err != nil {
				t.Fatalf("after %q: %v", text, err)
			}
			text += string(p)
		}
	}
	codes := map[int]int{}
	for range 3 { // the exec and two attaches
		x, ok := h.receive().(*wire.Exited)
		if !ok {
			t.Fatal("no exited")
		}
		codes[x.Code]++
	}
	if codes[4] != 3 {
		t.Errorf("exit codes: %v, want 4 three times", codes)
	}
}

func TestEndedExecKeepsOutputUntilReleased(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	handle := h.begin(detached(1, "echo output; exit 3")).Handle
	h.exited(1)
	for id := range uint64(2) {
		out := h.open()
		h.begin(&wire.Attach{Head: wire.Head{ID: id + 2}, Handle: handle, Stdout: out.ID(), From: wire.FromOldest})
		if text := readAll(t, out); text != "output\n" {
			t.Errorf("stdout = %q", text)
		}
		if x := h.exited(id + 2); x.Code != 3 || x.StdoutBytes != 7 {
			t.Errorf("exited: %+v", x)
		}
	}
	h.send(&wire.Execs{Head: wire.Head{ID: 5}})
	list := h.receive().(*wire.Done).Execs
	if len(list.Running) != 0 || len(list.Ended) != 1 || list.Ended[0].Exited == nil || list.Ended[0].Exited.Code != 3 || list.Ended[0].StdoutBytes != 7 {
		t.Errorf("execs: %+v, want one that has ended with code 3", list)
	}
	h.send(&wire.Release{Head: wire.Head{ID: 6}, Handle: handle})
	if m, ok := h.receive().(*wire.Done); !ok || m.ID != 6 {
		t.Errorf("answer to release: %+v", m)
	}
	h.send(&wire.Attach{Head: wire.Head{ID: 7}, Handle: handle})
	wantError(t, h.receive(), 7, wire.NotFound, " is not kept")
	h.send(&wire.Release{Head: wire.Head{ID: 8}, Handle: handle})
	wantError(t, h.receive(), 8, wire.NotFound, " is not kept")
}

func TestAttachRefusals(t *testing.T) {
	a := agenttest.Start(t)
	h := connect(t, a)
	silent := h.begin(detached(1, "sleep 1000")).Handle
	plain := h.begin(&wire.Exec{Head: wire.Head{ID: 2}, Argv: []string{"sleep", "1000"}}).Handle
	for i, c := range []struct {
		m    wire.Attach
		kind wire.ErrorKind
		text string
	}{
		{wire.Attach{Handle: make([]byte, 16)}, wire.NotFound, " is not kept"},
		{wire.Attach{Handle: silent[:15]}, wire.BadRequest, "handle of 15 bytes"},
		{wire.Attach{Handle: silent, AgentID: make([]byte, 16)}, wire.NotFound, "the request is for agent 0000"},
		{wire.Attach{Handle: silent, From: "middle"}, wire.BadRequest, `from "middle"`},
		{wire.Attach{Handle: silent, Stdout: 1, StdoutOffset: 1}, wire.BadRequest, "stdout has no byte 1 yet: it ends at 0"},
		{wire.Attach{Handle: silent, Stderr: 1, StderrOffset: 9}, wire.BadRequest, "stderr has no byte 9 yet"},
		{wire.Attach{Handle: silent, Stdin: 1}, wire.BadRequest, "started without stdin"},
		{wire.Attach{Handle: plain, Stdout: 1}, wire.BadRequest, "not detached"},
	} {
		id := uint64(10 + i)
		c.m.ID = id
		for _, stream := range []*uint32{&c.m.Stdin, &c.m.Stdout, &c.m.Stderr} {
			if *stream != 0 {
				*stream = h.open().ID()
			}
		}
		h.send(&c.m)
		wantError(t, h.receive(), id, c.kind, c.text)
	}
	h.send(&wire.Release{Head: wire.Head{ID: 30}, Handle: silent})
	wantError(t, h.receive(), 30, wire.BadRequest, "still runs")
}

func TestKeepingRefusals(t *testing.T) {
	h := connect(t, agenttest.Start(t))
	id := bytes.Repeat([]byte{1}, 16)
	for i, c := range []struct {
		keeping wire.Keeping
		rule    wire.OnDisconnect
		kind    wire.ErrorKind
		text    string
	}{
		{keeping: wire.Keeping{Key: make([]byte, 65), AgentID: id}, kind: wire.BadRequest, text: "key of 65 bytes: want at most 64"},
		{keeping: wire.Keeping{Key: []byte("k")}, kind: wire.BadRequest, text: "key and agent_id"},
		{keeping: wire.Keeping{AgentID: id}, kind: wire.BadRequest, text: "key and agent_id"},
		{keeping: wire.Keeping{Key: []byte("k"), AgentID: id}, kind: wire.NotFound, text: "the request is for agent 0101"},
		{keeping: wire.Keeping{Ring: 1}, kind: wire.BadRequest, text: "without detach"},
		{keeping: wire.Keeping{RingFull: wire.RingDrop}, kind: wire.BadRequest, text: "without detach"},
		{keeping: wire.Keeping{Detach: true, Ring: 16<<20 + 1}, kind: wire.BadRequest, text: "ring of 16777217 bytes"},
		{keeping: wire.Keeping{Detach: true, RingFull: "wait"}, kind: wire.BadRequest, text: `ring_full "wait"`},
		{keeping: wire.Keeping{Detach: true}, rule: wire.DisconnectKill, kind: wire.BadRequest, text: "on_disconnect kill"},
	} {
		id := uint64(i + 1)
		h.send(&wire.Exec{Head: wire.Head{ID: id}, Argv: []string{"true"}, Keeping: c.keeping, OnDisconnect: c.rule})
		wantError(t, h.receive(), id, c.kind, c.text)
	}
}

func TestOtherClassesDoNotSeeDetachedExecs(t *testing.T) {
	classes := make(chan string, 2)
	classes <- "one"
	classes <- "other"
	a := agenttest.StartWith(t, func(c *session.Config) {
		admit := c.Admit
		c.Admit = func(nc net.Conn) (session.Peer, error) {
			p, err := admit(nc)
			p.Class = <-classes
			return p, err
		}
	})
	handle := connect(t, a).begin(detached(1, "sleep 1000")).Handle
	h := connect(t, a)
	h.send(&wire.Attach{Head: wire.Head{ID: 1}, Handle: handle})
	wantError(t, h.receive(), 1, wire.NotFound, " is not kept")
	h.send(&wire.Release{Head: wire.Head{ID: 2}, Handle: handle})
	wantError(t, h.receive(), 2, wire.NotFound, " is not kept")
}

func TestLeavingTwiceIsAnsweredOnce(t *testing.T) {
	h := connect(t, agenttest.Start(t))
	handle := h.begin(detached(1, "sleep 1000")).Handle
	h.begin(&wire.Attach{Head: wire.Head{ID: 2}, Handle: handle})
	h.send(&wire.Leave{Head: wire.Head{ID: 3}, Exec: 2})
	h.send(&wire.Leave{Head: wire.Head{ID: 4}, Exec: 2})
	answers := map[uint64]int{}
	for range 3 {
		_, id := wire.About(h.receive())
		answers[id]++
	}
	if answers[2] != 1 || answers[3] != 1 || answers[4] != 1 {
		t.Errorf("answers by id: %v, want one for each of 2, 3 and 4", answers)
	}
}
