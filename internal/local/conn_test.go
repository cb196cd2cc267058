//go:build linux || windows

package local_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/lane"
	"github.com/cocoonstack/cocoon-agent/internal/local"
)

// here makes connections as the test's own user.
var here local.Dialer

// A peer is the service's end of a connection.
type peer interface {
	net.Conn
	CloseWrite() error
}

func address(tb testing.TB, network, address string) local.Address {
	tb.Helper()
	a, err := local.ParseAddress(network, address)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

func connect(tb testing.TB, network string) (*local.Conn, peer) {
	tb.Helper()
	ln := agenttest.Listen(tb, network)
	c, err := here.Dial(tb.Context(), address(tb, network, ln.Addr().String()))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.Close)
	nc, err := ln.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(agenttest.Patience))
	return c, nc.(peer)
}

// networks are those that this system has.
func networks() []string {
	if runtime.GOOS == "windows" { // Wine has no Unix sockets
		return []string{"tcp"}
	}
	return []string{"tcp", "unix"}
}

func overEachNetwork(t *testing.T, test func(t *testing.T, network string)) {
	t.Helper()
	for _, network := range networks() {
		t.Run(network, func(t *testing.T) { test(t, network) })
	}
}

// source makes a source of input of any reader.
func source(r io.Reader) io.WriterTo { return struct{ io.WriterTo }{writerTo{r}} }

type writerTo struct{ io.Reader }

func (w writerTo) WriteTo(to io.Writer) (int64, error) {
	return io.Copy(to, struct{ io.Reader }{w.Reader})
}

type copied struct {
	n   int64
	err error
}

func copyTo(c *local.Conn, w io.Writer) <-chan copied {
	done := make(chan copied, 1)
	go func() { n, err := c.CopyTo(w); done <- copied{n, err} }() // ended by Close
	return done
}

func copyFrom(c *local.Conn, src io.WriterTo) <-chan copied {
	done := make(chan copied, 1)
	go func() { n, err := c.CopyFrom(src); done <- copied{n, err} }() // ended by Close, or its source
	return done
}

func await(t *testing.T, what string, done <-chan copied) copied {
	t.Helper()
	select {
	case r := <-done:
		return r
	case <-time.After(agenttest.Patience):
		t.Fatalf("never: the end of %s", what)
		panic("unreachable")
	}
}

func TestDialTriesBothLoopbackAddresses(t *testing.T) {
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6: %v", err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	c, err := here.Dial(t.Context(), address(t, "tcp", "localhost:"+port))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestBytesAndEndsPassBothWays(t *testing.T) {
	overEachNetwork(t, func(t *testing.T, network string) {
		c, p := connect(t, network)
		var got bytes.Buffer
		out := copyTo(c, &got)
		if r := await(t, "the copy to the service", copyFrom(c, source(strings.NewReader("question")))); r.n != 8 || r.err != nil {
			t.Errorf("the copy to the service = %+v, want 8 bytes", r)
		}
		if b, err := io.ReadAll(p); string(b) != "question" || err != nil {
			t.Errorf("the service reads %q, %v", b, err)
		}
		_, _ = io.WriteString(p, "answer")
		_ = p.CloseWrite()
		if r := await(t, "the copy from the service", out); r.n != 6 || r.err != nil || got.String() != "answer" {
			t.Errorf("the copy from the service = %+v, %q, want %q", r, got.String(), "answer")
		}
		if lane.Bulk() != 0 {
			t.Errorf("%d copies have large buffers", lane.Bulk())
		}
	})
}

// resetting makes a service's end close with a reset, which only data that it
// has not read does on a Unix socket.
func resetting(t *testing.T, c *local.Conn, p peer) {
	t.Helper()
	if tcp, ok := p.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
		_ = p.Close()
		return
	}
	// The copy from this source goes on: a write may learn of the reset first.
	copyFrom(c, source(io.LimitReader(endless{}, 1)))
	if _, err := p.Read(nil); err != nil {
		t.Error(err)
	}
	raw, err := p.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	awaitByte(raw)
	_ = p.Close()
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestResetIsNotEOF(t *testing.T) {
	overEachNetwork(t, func(t *testing.T, network string) {
		c, p := connect(t, network)
		var got bytes.Buffer
		out := copyTo(c, &got)
		_, _ = io.WriteString(p, "so far")
		resetting(t, c, p)
		if r := await(t, "the copy", out); !errors.Is(r.err, local.ErrBroken) {
			t.Errorf("the copy = %+v, want %v", r, local.ErrBroken)
		}
	})
}

// The kernel tells of a reset once, and it may be the writer whom it tells.
func TestResetDuringAWriteIsNotEOF(t *testing.T) {
	overEachNetwork(t, func(t *testing.T, network string) {
		for range 200 {
			c, p := connect(t, network)
			out := copyTo(c, io.Discard)
			in := copyFrom(c, source(endless{}))
			_, _ = io.CopyN(io.Discard, p, 100<<10)
			if tcp, ok := p.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
			_ = p.Close() // with data that has not been read
			if r := await(t, "the copy from the service", out); !errors.Is(r.err, local.ErrBroken) {
				t.Fatalf("the copy from the service = %+v, want %v", r, local.ErrBroken)
			}
			c.Close()
			await(t, "the copy to it", in)
		}
	})
}

// A service that has closed its connection early, all read, has ended what it
// sends; the host must not be held up, nor find that broken.
func TestServiceThatClosesEarlyIsAnEnd(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows tells of the reset that a later write causes, and not of the end before it")
	}
	overEachNetwork(t, func(t *testing.T, network string) {
		for range 50 {
			c, p := connect(t, network)
			first, more := io.Pipe()
			in := copyFrom(c, source(first))
			_, _ = io.WriteString(more, "question")
			if _, err := io.ReadFull(p, make([]byte, 8)); err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(p, "answer")
			_ = p.Close()
			var got bytes.Buffer
			sent := make(chan struct{})
			go func() { // ends with the copy
				defer close(sent)
				for range 100 {
					_, _ = more.Write(make([]byte, 32<<10))
				}
				_ = more.Close()
			}()
			if r := await(t, "the copy from it", copyTo(c, &got)); r.err != nil || got.String() != "answer" {
				t.Fatalf("the copy from the service = %+v, %q, want %q", r, got.String(), "answer")
			}
			if r := await(t, "the copy to it", in); r.err != nil {
				t.Fatalf("the copy to the service = %+v, want no error", r)
			}
			<-sent
			c.Close()
		}
	})
}

func TestStopLetsASlowServiceHaveTheRest(t *testing.T) {
	all := networks()
	c, p := connect(t, all[len(all)-1])
	const size = 8 << 20
	out := copyTo(c, io.Discard)
	in := copyFrom(c, source(io.LimitReader(endless{}, size)))
	const breath = time.Second // a busy machine may hold the service up, too
	c.Stop(breath)
	if r := await(t, "the copy from it", out); !errors.Is(r.err, os.ErrDeadlineExceeded) {
		t.Errorf("the copy from the service = %+v, want %v", r, os.ErrDeadlineExceeded)
	}
	got, begun := int64(0), time.Now()
	for b := make([]byte, 64<<10); ; {
		n, err := p.Read(b)
		got += int64(n)
		if err != nil {
			break
		}
		if time.Since(begun) < 2*breath {
			time.Sleep(breath / 40) //nolint:forbidigo // the service is slow
		}
	}
	if r := await(t, "the copy to it", in); got != size || r.n != size || r.err != nil {
		t.Errorf("the service has %d bytes of %d: %+v", got, size, r)
	}
}

func TestStopOfAServiceThatTakesNothingEnds(t *testing.T) {
	for name, stop := range map[string]func(*local.Conn){
		"stop":                   func(c *local.Conn) { c.Stop(time.Millisecond) },
		"stop by":                func(c *local.Conn) { c.StopBy(time.Millisecond) },
		"stop by, and then stop": func(c *local.Conn) { c.StopBy(time.Millisecond); c.Stop(time.Hour) },
		"close":                  (*local.Conn).Close,
	} {
		t.Run(name, func(t *testing.T) {
			overEachNetwork(t, func(t *testing.T, network string) {
				c, _ := connect(t, network)
				in := copyFrom(c, source(endless{}))
				stop(c)
				if r := await(t, "the copy", in); r.err == nil {
					t.Errorf("the copy = %+v, want an error", r)
				}
			})
		})
	}
}

func TestCutOffInputIsNotEOFToTheService(t *testing.T) {
	c, p := connect(t, "tcp")
	lost := errors.New("lost")
	cut := io.MultiReader(strings.NewReader("half"), failing{lost})
	if r := await(t, "the copy", copyFrom(c, source(cut))); !errors.Is(r.err, lost) {
		t.Fatalf("the copy = %+v, want %v", r, lost)
	}
	if _, err := io.ReadFull(p, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := p.Read(make([]byte, 1)); !isReset(err) {
		t.Errorf("the service reads %v", err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
