//go:build linux

package client_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A duel is a client with a command and a ping under way, and then a guest
// connection, whose guest is a fuzzer's.
type duel struct {
	tb     testing.TB
	guest  net.Conn // the guest's end of the connection, which holds nothing
	asked  chan struct{}
	cancel context.CancelFunc

	dialed         chan *client.Client
	ran, pinged    chan error
	visited        chan error // nil: the connection has ended, and not been lost
	stdout, stderr bytes.Buffer
}

func newDuel(tb testing.TB) *duel {
	tb.Helper()
	near, far := net.Pipe()
	d := &duel{
		tb: tb, guest: far, asked: make(chan struct{}), dialed: make(chan *client.Client, 1),
		ran: make(chan error, 1), pinged: make(chan error, 1), visited: make(chan error, 1),
	}
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	go d.host(ctx, near) // ends by end
	return d
}

// host is what the client's user does. The exec is request 1, with streams 3, 5
// and 7; the ping, request 2, goes out when the guest has read it.
func (d *duel) host(ctx context.Context, conn net.Conn) {
	c, err := client.NewClient(context.Background(), conn)
	d.dialed <- c
	if err != nil {
		d.ran <- err
		d.pinged <- err
		d.visited <- err
		return
	}
	go func() {
		cmd := c.CommandContext(ctx, "anything")
		cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = strings.NewReader("input"), &d.stdout, &d.stderr, 1
		d.ran <- cmd.Run()
	}()
	select {
	case <-d.asked:
	case <-ctx.Done():
	}
	d.pinged <- c.Ping(ctx)
	d.visited <- visit(ctx, c)
}

// visit is request 3, with stream 9. It reads what the guest says to its end.
func visit(ctx context.Context, c *client.Client) error {
	nc, err := c.DialGuest(ctx, "tcp", "localhost:80")
	if err != nil {
		return err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })()
	if _, err := io.WriteString(nc, "hello"); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, nc)
	return err
}

// end lets the client's user lose patience, and checks that all calls return,
// with errors that are documented.
//
// The guest hangs up first, or else the client. A client takes mux.CloseTimeout for
// that if the guest does not read.
func (d *duel) end(guestFirst bool) (ran, visited error) {
	d.tb.Helper()
	d.cancel()
	var pinged error
	agenttest.Within(d.tb, "the end of a command whose context has ended", func() { ran = <-d.ran })
	agenttest.Within(d.tb, "the end of a ping whose context has ended", func() { pinged = <-d.pinged })
	agenttest.Within(d.tb, "the end of a guest connection whose context has ended", func() { visited = <-d.visited })
	for _, err := range []error{ran, pinged, visited} {
		if !documented(err) {
			d.tb.Errorf("error %v (%T)", err, err)
		}
	}
	if guestFirst {
		_ = d.guest.Close()
	}
	agenttest.Within(d.tb, "Close", func() {
		if c := <-d.dialed; c != nil {
			_ = c.Close()
		}
	})
	_ = d.guest.Close()
	return ran, visited
}

func documented(err error) bool {
	for _, known := range []error{nil, client.ErrLost, client.ErrProtocol, client.ErrNotSpoken, client.ErrWaitDelay, context.Canceled, os.ErrDeadlineExceeded} {
		if errors.Is(err, known) {
			return true
		}
	}
	_, exit := errors.AsType[*client.ExitError](err)
	_, remote := errors.AsType[*client.RemoteError](err)
	_, lost := errors.AsType[*client.LostExitError](err)
	return exit || remote || lost
}

// How FuzzGuestBytes plays its bytes.
const (
	unasked    = 1 << iota // before the client has asked for anything
	readingNot             // the guest reads no more once it has been asked
	inSingleBytes
	clientFirst // to hang up
)

// FuzzGuestBytes: a guest that says any bytes at all makes no call hang, and
// nothing stays behind.
func FuzzGuestBytes(f *testing.F) {
	for _, seed := range recordedGuests(f) {
		for mode := range byte(clientFirst) {
			f.Add(mode, seed)
		}
		f.Add(byte(clientFirst), seed)
	}
	f.Add(byte(unasked), []byte(`{"type":"error","message":"unknown frame type"}`+"\n"))
	f.Add(byte(readingNot), bytes.Repeat([]byte("\x00\x02\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07"), 100))                      // pings
	f.Add(byte(0), []byte("\x00\x01\x00\x02\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x05\x00\x00\x00\x09x")) // half a last frame
	a := agenttest.NewAuditor()
	f.Fuzz(func(t *testing.T, mode byte, says []byte) {
		if len(says) > 16<<10 {
			t.Skip()
		}
		d := newDuel(t)
		listener := &ear{asked: d.asked, mute: mode&readingNot != 0, pong: make(chan struct{}), closed: make(chan struct{})}
		go listener.listen(d.guest) // ends with the connection
		if mode&unasked == 0 {
			<-d.asked
		}
		tail, whole := completion(says)
		if mode&readingNot != 0 {
			whole = false
			_ = d.guest.SetWriteDeadline(time.Now().Add(2 * time.Millisecond)) // it may be held back
		}
		step := len(says) + 1
		if mode&inSingleBytes != 0 {
			step = 1
		}
		var err error
		for at := 0; at < len(says) && err == nil; at += step {
			_, err = d.guest.Write(says[at:min(at+step, len(says))])
		}
		if whole && err == nil {
			_, _ = d.guest.Write(tail)
			agenttest.Within(d.tb, "an answer, or the end of the connection", listener.await)
		}
		d.end(mode&clientFirst == 0 || mode&readingNot != 0)
		<-listener.closed
		a.Audit(t)
	})
}

// An ear is the guest's.
type ear struct {
	asked        chan struct{} // closed when an exec has come, or nothing will
	mute         bool          // nothing is read after that
	pong, closed chan struct{}
}

func (e *ear) await() {
	select {
	case <-e.pong:
	case <-e.closed:
	}
}

// listen reads frames. The second message on stream 1 is the exec.
func (e *ear) listen(conn net.Conn) {
	defer close(e.closed)
	var asked, pong sync.Once
	defer asked.Do(func() { close(e.asked) })
	if _, err := io.ReadFull(conn, make([]byte, len(wire.Preface))); err != nil {
		return
	}
	var head [12]byte
	for messages := 0; ; {
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return
		}
		switch {
		case head[1] == 0:
			if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head[8:]))); err != nil {
				return
			}
			if head[7] == 1 {
				messages++
			}
		case bytes.Equal(head[:], agenttest.LastPong):
			pong.Do(func() { close(e.pong) })
		}
		if messages == 2 {
			asked.Do(func() { close(e.asked) })
			if e.mute {
				return
			}
		}
	}
}

// completion returns bytes that complete the last of frames, followed by a ping. It
// returns false if that one is far from its end.
func completion(frames []byte) (tail []byte, ok bool) {
	if len(frames) > 0 && frames[0] != 0 {
		return nil, false // a line: no agent
	}
	for len(frames) >= 12 {
		head := frames[:12]
		frames = frames[12:]
		if head[1] != 0 {
			continue
		}
		length := int(binary.BigEndian.Uint32(head[8:]))
		if missing := length - len(frames); missing > 0 {
			return append(make([]byte, min(missing, 1<<20)), agenttest.LastPing...), missing <= 1<<20
		}
		frames = frames[length:]
	}
	if len(frames) == 0 {
		return agenttest.LastPing, true
	}
	return append(make([]byte, 12-len(frames)), agenttest.LastPing...), len(frames) <= 8 || frames[1] != 0 // else its length has begun
}

// recordedGuests is what guests say to the client of a duel.
func recordedGuests(tb testing.TB) [][]byte {
	tb.Helper()
	hello, id := &wire.Hello{Min: 2, Max: 2}, wire.Head{ID: 1}
	started := &wire.Started{Head: id, PID: 42, Handle: make([]byte, 16)}
	var recorded [][]byte
	for _, messages := range [][]wire.Message{
		{},
		{hello},
		{hello, &wire.Error{Head: id, Kind: wire.NotFound, Message: "no"}, &wire.Done{Head: wire.Head{ID: 2}}},
		{hello, started},
		{hello, started, &wire.Exited{Head: id, Reason: wire.ReasonExit, StdoutBytes: 6, StderrBytes: 5}},
		{hello, started, &wire.Exited{Head: id, Reason: wire.ReasonLost}},
		{hello, started, &wire.Exited{Head: id, Code: -1, Signal: "KILL", SignalNumber: 9, Reason: wire.ReasonSignal}},
		{hello, started, started},
		{hello, hello},
		{&wire.Hello{Min: 3, Max: 3}},
		{hello, &wire.Error{Kind: wire.ShuttingDown, Message: "going down"}},
	} {
		recorded = append(recorded, recordGuest(tb, messages))
	}
	return recorded
}

// recordGuest returns what an agent's side writes that takes the client's
// streams, says something on each, ends them and sends messages.
func recordGuest(tb testing.TB, messages []wire.Message) []byte {
	tb.Helper()
	near, far := net.Pipe()
	var said bytes.Buffer
	copied := make(chan struct{})
	go func() { _, _ = io.Copy(&said, near); close(copied) }() // ends with the connection
	guest := mux.Server(far)
	for id := byte(1); id <= 7; id += 2 {
		_, _ = near.Write([]byte{0, 1, 0, 1, 0, 0, 0, id, 0, 0, 0, 0})
	}
	control, err := guest.Control(context.Background())
	if err != nil {
		tb.Fatal(err)
	}
	for id, text := range map[uint32]string{3: "", 5: "stdout", 7: "error"} {
		s, err := guest.Claim(id)
		if err != nil {
			tb.Fatal(err)
		}
		_, _ = s.Write([]byte(text))
		_ = s.Close()
	}
	for _, m := range messages {
		if err := wire.Write(control, m); err != nil {
			tb.Fatal(err)
		}
	}
	_ = guest.Close()
	<-copied
	return said.Bytes()
}
