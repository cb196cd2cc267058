//go:build linux

package client_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// FuzzGuestMessages: whatever a guest does, in whatever order, no call hangs and
// nothing stays behind. A command has succeeded only if the guest has reported success,
// and has sent as many bytes as it counts.
func FuzzGuestMessages(f *testing.F) {
	for _, seed := range []string{
		"hs1w1\x06w2\x05c1c2x1\x00\x06\x05", // success
		"hs1w1\x06c1c2x1\x00\x07\x00",       // a byte is missing
		"hs1w1\x06c1c2x1\x00\x05\x00",       // one too many
		"hs1w1\x06x1\x00\x06\x00w2\x05",     // and more, after the end
		"hs1x1\x01\x00\x00",                 // exit status 1; ends are missing
		"hs1c1c2x1\x00\x00\x00d",            // success, and the end
		"hs1s1", "s1", "hh",
		"he1e2", "he0", "he9v2",
		"hx1\x00\x00\x00",         // exited without started
		"hs1o1oy\x00\x04\x05\x09", // streams of the guest's own, and a last frame
		"hg\x05\x00\x00\x00\x01\xc1", "hu", "hb", "q",
		"hs1y\x01\x08\x05\x00", // stdout is reset
		"hs1w1\x06r", "hs1k",
		"hv2fs3W\x05Cv3", // a guest connection, and its end
		"hv2fs3W\x05e3X", // broken off
		"hv2fs3W\x05d", "hv2fe3", "hv2fs3C", "hv2fs3s3",
	} {
		f.Add([]byte(seed))
	}
	a := agenttest.NewAuditor()
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 512 {
			t.Skip()
		}
		d := newDuel(t)
		p := &player{tb: t, script: input, duel: d, sent: make(map[uint32]int)}
		p.play()
		ran, visited := d.end(true)
		if ran == nil && !p.garbled && !p.succeeded {
			t.Errorf("success, though the guest has sent %v, and said %+v", p.sent, p.exited)
		}
		if visited == nil && !p.garbled && !p.left {
			t.Error("a guest connection has ended that the guest has not")
		}
		a.Audit(t)
	})
}

// A player is a guest that follows a script.
type player struct {
	tb     testing.TB
	script agenttest.Script
	duel   *duel

	mux     *mux.Session
	control *mux.Stream
	streams map[uint32]*mux.Stream
	exited  *wire.Exited // the first one about the exec
	sent    map[uint32]int
	left    bool // it has ended the guest connection
	garbled bool // frames have been sent that mux does not know of

	// The guest has said that the command has succeeded, and had then sent what it
	// says. The client does not wait for the end of a stream, too: of a connection
	// that dies then it would never learn. So it need not see what comes later.
	succeeded bool
}

// judge is called whenever that may have become so.
func (p *player) judge() {
	x := p.exited
	if x != nil && x.Code == 0 && p.sent[5] == int(x.StdoutBytes) && p.sent[7] == int(x.StderrBytes) {
		p.succeeded = true
	}
}

func (p *player) play() {
	conn := p.duel.guest
	br := bufio.NewReaderSize(conn, wire.MaxPreface)
	if err := wire.ReadPreface(br); err != nil {
		p.tb.Fatal(err)
	}
	p.mux = mux.Server(struct {
		io.Reader
		io.WriteCloser
	}{br, conn})
	defer p.mux.Close()
	var err error
	if p.control, err = p.mux.Control(context.Background()); err != nil {
		p.tb.Fatal(err)
	}
	in := bufio.NewReader(p.control)
	for range 2 { // hello and exec
		if _, err := wire.Read(in); err != nil {
			p.tb.Fatal(err)
		}
	}
	close(p.duel.asked)
	p.streams = make(map[uint32]*mux.Stream)
	for _, id := range []uint32{3, 5, 7} {
		if p.streams[id], err = p.mux.Claim(id); err != nil {
			p.tb.Fatal(err)
		}
	}
	for len(p.script) > 0 {
		p.step(p.script.Next(), conn)
	}
	p.settle()
}

// settle gives the client the time to make a success of what it has been sent.
func (p *player) settle() {
	if p.exited == nil {
		return
	}
	timer := time.NewTimer(5 * time.Millisecond)
	defer timer.Stop()
	select {
	case err := <-p.duel.ran:
		p.duel.ran <- err
	case <-timer.C:
	}
}

// send ignores errors: the client may have left.
func (p *player) send(m wire.Message) { _ = wire.Write(p.control, m) }

// request is the exec's id as a rule.
func (p *player) request() wire.Head { return wire.Head{ID: uint64(p.script.Next() % 4)} }

func (p *player) stream() uint32 { return []uint32{3, 5, 7}[p.script.Next()%3] }

func (p *player) step(op byte, conn net.Conn) {
	switch s := &p.script; op {
	case 'h':
		p.send(&wire.Hello{Min: 2, Max: 2})
	case 's':
		p.send(&wire.Started{Head: p.request(), PID: 42, Handle: make([]byte, 16)})
	case 'x':
		x := &wire.Exited{
			Head: p.request(), Code: int(s.Next() % 2), Reason: wire.ReasonExit,
			StdoutBytes: uint64(s.Next()), StderrBytes: uint64(s.Next()),
		}
		if p.exited == nil && x.ID == 1 {
			p.exited = x
			p.judge()
		}
		p.send(x)
	case 'e':
		p.send(&wire.Error{Head: p.request(), Kind: wire.Limit, Message: "no"})
	case 'v':
		p.send(&wire.Done{Head: p.request()})
	case 'w':
		id := p.stream()
		n, _ := p.streams[id].Write(make([]byte, s.Next())) // at most 128 KiB in all: no window is full
		p.sent[id] += n
		p.judge()
	case 'c':
		_ = p.streams[p.stream()].Close()
	case 'r':
		p.streams[3].SetReadDeadline(time.Unix(1, 0))
		_, _ = p.streams[3].Read(make([]byte, 100))
	case 'f':
		p.await(visitStream)
	case 'W':
		if stream := p.streams[visitStream]; stream != nil {
			_, _ = stream.Write(make([]byte, s.Next()))
		}
	case 'C':
		if stream := p.streams[visitStream]; stream != nil {
			p.left = true
			_ = stream.Close()
		}
	case 'X':
		if stream := p.streams[visitStream]; stream != nil {
			stream.Reset()
		}
	case 'k':
		p.duel.cancel()
	case 'o':
		_, _ = p.mux.Open()
	case 'u':
		p.send(&wire.Kill{Head: p.request(), Exec: 1})
	case 'b':
		p.send(&wire.Error{Kind: wire.ShuttingDown, Message: "bye"})
	case 'g':
		_, _ = p.control.Write(s.Take(int(s.Next())))
	case 'q':
		_ = p.control.Close()
	case 'd':
		_ = p.mux.Close()
	case 'y':
		p.garbled = true
		_ = conn.SetWriteDeadline(time.Now().Add(10 * time.Millisecond)) // the client may have left off reading
		_, _ = conn.Write(p.script.Frame())                              // between two of ours
		_ = conn.SetWriteDeadline(time.Time{})
	}
}

// visitStream is that of the guest connection.
const visitStream = 9

// await gives the client the time to open a stream.
func (p *player) await(id uint32) {
	if p.streams[id] != nil {
		return
	}
	timer := time.NewTimer(5 * time.Millisecond)
	defer timer.Stop()
	poll := time.NewTicker(100 * time.Microsecond)
	defer poll.Stop()
	for {
		if stream, err := p.mux.Take(id); stream != nil || err != nil {
			p.streams[id] = stream
			return
		}
		select {
		case <-poll.C:
		case <-timer.C:
			return
		}
	}
}
