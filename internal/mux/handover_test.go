package mux_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
)

// A taker is a TryWriter. Nothing guards it: the race detector finds calls at the same
// time, and calls after WriteTo has returned.
type taker struct {
	got   bytes.Buffer
	tried int               // calls of TryWrite
	room  func(n int) int   // how many of n bytes TryWrite takes; nil: all of them
	write func(p []byte)    // called by Write; nil: not
	fail  func(n int) error // TryWrite's error; nil: none
	hold  func()            // called by TryWrite; nil: not
	after func(what string) // called once there must be no more calls; nil: there may be
}

func (k *taker) Write(p []byte) (int, error) {
	if k.after != nil {
		k.after("Write")
	}
	if k.write != nil {
		k.write(p)
	}
	return k.got.Write(p)
}

func (k *taker) TryWrite(p []byte) (n int, err error) {
	if k.after != nil {
		k.after("TryWrite")
	}
	k.tried++
	if n = len(p); k.room != nil {
		n = k.room(n)
	}
	if k.fail != nil {
		err = k.fail(n)
	}
	if k.hold != nil {
		k.hold()
	}
	k.got.Write(p[:n])
	return n, err
}

// A written is what a WriteTo has returned.
type written struct {
	n   int64
	err error
}

func writeTo(s *mux.Stream, w io.Writer) <-chan written {
	done := make(chan written, 1)
	go func() { // ends with s, or w's error
		n, err := s.WriteTo(w)
		done <- written{n, err}
	}()
	return done
}

// taking is a WriteTo that waits, on the host's side of a session with a peer.
func taking(t *testing.T, k *taker) (*yamuxPeer, *mux.Stream, <-chan written) {
	t.Helper()
	peer, _, control := hostileAgent(t)
	done := writeTo(control, k)
	until(t, "WriteTo waits", control.Waits)
	return peer, control, done
}

func (p *yamuxPeer) data(t *testing.T, body string) {
	t.Helper()
	p.send(t, yamuxFrame{Kind: yamuxData, Stream: 1, Length: uint32(len(body))}, body)
}

func (p *yamuxPeer) end(t *testing.T, flags uint16) {
	t.Helper()
	p.send(t, yamuxFrame{Kind: yamuxWindowUpdate, Flags: flags, Stream: 1}, "")
}

// overtake returns when the session has handled everything that has been sent, whatever it
// has sent itself.
func (p *yamuxPeer) overtake(t *testing.T) {
	t.Helper()
	p.pings++
	p.send(t, yamuxFrame{Kind: yamuxPing, Flags: yamuxSYN, Length: p.pings}, "")
	for kind := yamuxData; kind != yamuxPing; {
		kind = p.next(t).frame.Kind
	}
}

func wantWritten(t *testing.T, got written, n int64, err error) {
	t.Helper()
	if got.n != n || !errors.Is(got.err, err) {
		t.Errorf("WriteTo = %d, %v, want %d, %v", got.n, got.err, n, err)
	}
}

func TestReceiverHandsOverWhatComes(t *testing.T) {
	var k taker
	peer, _, done := taking(t, &k)
	long := string(bytes.Repeat([]byte("long "), 10_000))
	peer.data(t, "short ")
	peer.data(t, long)
	peer.settle(t) // the goroutine that answers is the one that has written
	if got := k.got.String(); got != "short "+long || k.tried != 2 {
		t.Errorf("the Writer got %d bytes by %d calls, want %d by 2", len(got), k.tried, len("short "+long))
	}
	peer.end(t, yamuxFIN)
	wantWritten(t, <-done, int64(len("short "+long)), nil)
}

func TestWriteGetsTheRestOfAHandover(t *testing.T) {
	k := taker{room: func(n int) int { return n / 2 }}
	peer, _, done := taking(t, &k)
	for _, body := range []string{"0123456789", string(bytes.Repeat([]byte("x"), 50_000)), "end"} {
		peer.data(t, body)
	}
	peer.end(t, yamuxFIN)
	wantWritten(t, <-done, 50_013, nil)
	if got := k.got.Bytes(); !bytes.HasPrefix(got, []byte("0123456789xxx")) || !bytes.HasSuffix(got, []byte("xxxend")) {
		t.Errorf("got %.20q … %.20q", got, got[len(got)-10:])
	}
}

func TestHandoverKeepsTheOrder(t *testing.T) {
	p := newPair(t)
	host, agent := p.stream(t)
	r := rand.New(rand.NewPCG(1, 2))
	k := taker{room: func(n int) int { return min(n, r.IntN(2*n)) }}
	done := writeTo(host, &k)
	sent := make([]byte, 4<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(sent)
	for rest, sizes := sent, rand.New(rand.NewPCG(3, 4)); len(rest) > 0; {
		n := min(len(rest), 1+sizes.IntN(1<<sizes.IntN(18)))
		if _, err := agent.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	_ = agent.Close()
	wantWritten(t, <-done, int64(len(sent)), nil)
	if !bytes.Equal(k.got.Bytes(), sent) {
		t.Errorf("%d other bytes than the %d that were sent", k.got.Len(), len(sent))
	}
	if k.tried == 0 {
		t.Error("nothing was handed over")
	}
}

// Read gets the bytes that the Writer has not taken.
func TestWriteToReturnsTheErrorOfTryWrite(t *testing.T) {
	for _, broken := range []error{errors.New("broken"), io.EOF} {
		k := taker{room: func(int) int { return 2 }, fail: func(int) error { return broken }}
		peer, control, done := taking(t, &k)
		peer.data(t, "hello")
		wantWritten(t, <-done, 2, broken)
		peer.data(t, ", world")
		peer.end(t, yamuxFIN)
		if rest, err := io.ReadAll(control); string(rest) != "llo, world" || err != nil {
			t.Errorf("Read %q, %v behind the error", rest, err)
		}
		if k.tried != 1 {
			t.Errorf("TryWrite was called %d times", k.tried)
		}
	}
}

// By order of events: the other stream's bytes go to and fro while Write is blocked.
func TestFullTryWriterDelaysNoOther(t *testing.T) {
	p := newPair(t)
	slow, source := p.stream(t)
	entered, open := make(chan struct{}, 1), make(chan struct{})
	k := taker{room: func(int) int { return 0 }, write: func([]byte) {
		select {
		case entered <- struct{}{}:
		default:
		}
		<-open
	}}
	done := writeTo(slow, &k)
	until(t, "WriteTo waits", slow.Waits)
	if _, err := source.Write(make([]byte, 500_000)); err != nil {
		t.Fatal(err)
	}
	<-entered
	host, agent := p.stream(t)
	for range 10 {
		if _, err := agent.Write(bytes.Repeat([]byte("x"), 100_000)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(host, make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
	}
	close(open)
	_ = source.Close()
	wantWritten(t, <-done, 500_000, nil)
}

// WriteTo, ended while bytes are being handed over, returns after that.
func TestWriteToEndsAfterTheHandover(t *testing.T) {
	for name, end := range map[string]struct {
		by   func(s *mux.Stream)
		want error
	}{
		"Discard":  {(*mux.Stream).Discard, os.ErrClosed},
		"Reset":    {(*mux.Stream).Reset, os.ErrClosed},
		"deadline": {func(s *mux.Stream) { s.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			entered, open := make(chan struct{}), make(chan struct{})
			k := taker{hold: func() { close(entered); <-open }}
			peer, control, done := taking(t, &k)
			peer.data(t, "hello")
			<-entered
			end.by(control)
			select {
			case got := <-done:
				t.Errorf("WriteTo = %d, %v while its Writer is written to", got.n, got.err)
			default:
			}
			close(open)
			wantWritten(t, <-done, 5, end.want)
			k.after = func(what string) { t.Errorf("%s after WriteTo has returned", what) }
			peer.data(t, "more")
			peer.overtake(t)
			if got := k.got.String(); got != "hello" {
				t.Errorf("the Writer got %q", got)
			}
		})
	}
}

// Any end may come at any time of a handover. The Writer has then got a beginning of
// what was sent, as long as WriteTo says, and is not called again.
func TestEndsDuringHandovers(t *testing.T) {
	p := newPair(t)
	ends := []func(host, agent *mux.Stream){
		func(host, _ *mux.Stream) { host.Discard() },
		func(host, _ *mux.Stream) { host.Reset() },
		func(_, agent *mux.Stream) { _ = agent.Close() },
		func(_, agent *mux.Stream) { agent.Reset() },
		func(host, _ *mux.Stream) { host.SetReadDeadline(time.Now()) },
	}
	sent := make([]byte, 64<<10)
	_, _ = rand.NewChaCha8([32]byte{}).Read(sent)
	for i := range 500 {
		r := rand.New(rand.NewPCG(uint64(i), 0))
		host, agent := p.stream(t)
		var k taker
		if i%2 == 0 {
			k.room = func(n int) int { return r.IntN(n + 1) }
		}
		done := writeTo(host, &k)
		writer := make(chan struct{})
		go func() { // ends with its writes, which the stream's end may cut off
			defer close(writer)
			for rest := sent; len(rest) > 0; rest = rest[min(len(rest), 9000):] {
				if _, err := agent.Write(rest[:min(len(rest), 9000)]); err != nil {
					return
				}
			}
		}()
		for range rand.IntN(50) {
			runtime.Gosched()
		}
		ends[i%len(ends)](host, agent)
		got := <-done
		k.after = func(what string) { t.Errorf("%s after WriteTo has returned", what) }
		if !bytes.HasPrefix(sent, k.got.Bytes()) || got.n != int64(k.got.Len()) {
			t.Fatalf("%d: WriteTo = %d, %v; the Writer got %d bytes, which may be others", i, got.n, got.err, k.got.Len())
		}
		host.Discard()
		<-writer
		_ = agent.Close()
	}
	_ = p.agent.Close()
	<-p.host.Done()
}

func TestSessionMayEndDuringAHandover(t *testing.T) {
	for range 100 {
		p := newPair(t)
		host, agent := p.stream(t)
		var k taker
		done := writeTo(host, &k)
		go func() { _, _ = agent.Write(make([]byte, 100_000)) }() // ends with the session
		runtime.Gosched()
		p.host.Abort()
		got := <-done
		wantLost(t, "WriteTo", got.err)
		if got.n != int64(k.got.Len()) {
			t.Errorf("WriteTo = %d, %v; the Writer got %d", got.n, got.err, k.got.Len())
		}
		_ = p.agent.Close()
	}
}

// The window comes back for what was handed over, too.
func TestHandoverGivesTheWindowBack(t *testing.T) {
	p := newPair(t)
	host, agent := p.stream(t)
	var k taker
	done := writeTo(agent, &k)
	within(t, "writing many windows", func() {
		for range 20 {
			if _, err := host.Write(make([]byte, window)); err != nil {
				t.Error(err)
			}
		}
	})
	_ = host.Close()
	wantWritten(t, <-done, 20*window, nil)
}
