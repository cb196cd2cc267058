//go:build linux

package client_test

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// openGuest opens a connection to a service without waiting, until the end of the test.
func openGuest(tb testing.TB, c *client.Client, s net.Listener) *client.GuestConn {
	tb.Helper()
	g, err := c.OpenGuest(patiently(tb), s.Addr().Network(), s.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = g.Close() })
	return g
}

// The agent has not answered when the bytes leave.
func TestOpenGuestDoesNotWaitForTheAnswer(t *testing.T) {
	c, g := hostile(t)
	conn, err := c.OpenGuest(patiently(t), "tcp", "localhost:80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "early"); err != nil {
		t.Fatal(err)
	}
	m, ok := g.receive().(*wire.Forward)
	if !ok {
		t.Fatal("the agent gets no forward")
	}
	stream, err := g.mux.Claim(m.Stream)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(stream, got); err != nil || string(got) != "early" {
		t.Errorf("before its answer the agent reads %q, %v, want %q", got, err, "early")
	}
}

func TestOpenGuestCarriesBytesAndEnds(t *testing.T) {
	c, _ := dial(t)
	overEachNetwork(t, func(t *testing.T, network string) {
		s := serve(t, network, echo)
		for range 50 {
			g := openGuest(t, c, s)
			if _, err := io.WriteString(g, "question"); err != nil {
				t.Fatal(err)
			}
			_ = g.CloseWrite()
			var got strings.Builder
			if n, err := g.WriteTo(&got); n != 8 || err != nil || got.String() != "question" {
				t.Fatalf("WriteTo = %d, %v with %q, want %q", n, err, got.String(), "question")
			}
			_ = g.Close()
		}
	})
	wantStreams(t, c)
}

func TestRefusedOpenGuestIsNotEOF(t *testing.T) {
	a := agenttest.Start(t)
	c := connect(t, a.Target)
	s := listen(t, "tcp")
	_ = s.Close()
	for _, address := range []string{s.Addr().String(), "10.0.0.1:80"} {
		for range 20 {
			g, err := c.OpenGuest(patiently(t), "tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(g, "in vain")
			_, err = g.WriteTo(io.Discard)
			op, ok := errors.AsType[*net.OpError](err)
			if _, remote := errors.AsType[*client.RemoteError](err); !ok || op.Op != "dial" || !remote {
				t.Fatalf("WriteTo = %v (%T), want the error of a dial", err, err)
			}
			_ = g.Close()
		}
	}
	wantStreams(t, c)
}

// The connection may not have been made when it is closed.
func TestOpenGuestClosedAtOnceLeavesNothing(t *testing.T) {
	c, a := dial(t)
	s := serve(t, "tcp", func(guest halfCloser) { _, _ = io.Copy(guest, endless{}) })
	for i := range 100 {
		g := openGuest(t, c, s)
		if i%2 == 0 {
			_ = g.Close()
		} else {
			_ = g.Reset()
		}
	}
	wantStreams(t, c)
	agenttest.Eventually(t, "all that has started has ended", func() bool {
		return strings.Count(a.Log.String(), `"forward started"`) == strings.Count(a.Log.String(), `"forward ended"`)
	})
}

func TestOpenGuestClosedAtOnceDelivers(t *testing.T) {
	c, _ := dial(t)
	overEachNetwork(t, func(t *testing.T, network string) {
		s := listen(t, network)
		for range 50 {
			g := openGuest(t, c, s)
			_, _ = io.WriteString(g, "last words")
			_ = g.Close()
			guest, err := s.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(guest); err != nil || string(got) != "last words" {
				t.Fatalf("the service reads %q, %v, want %q", got, err, "last words")
			}
			_ = guest.Close()
		}
	})
	wantStreams(t, c)
}

func TestGuestConnResetReachesTheService(t *testing.T) {
	c, _ := dial(t)
	s := listen(t, "tcp")
	for name, before := range map[string]func(g *client.GuestConn, guest net.Conn){
		"silent":  func(*client.GuestConn, net.Conn) {},
		"sending": func(g *client.GuestConn, _ net.Conn) { _, _ = io.WriteString(g, "so far") },
		"ended": func(_ *client.GuestConn, guest net.Conn) {
			_ = guest.(*net.TCPConn).CloseWrite()
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 {
				g := openGuest(t, c, s)
				guest, err := s.Accept()
				if err != nil {
					t.Fatal(err)
				}
				before(g, guest)
				if err := errors.Join(g.Reset(), g.Reset()); err != nil {
					t.Error(err)
				}
				got, err := io.ReadAll(guest)
				if !errors.Is(err, syscall.ECONNRESET) {
					t.Fatalf("the service reads %q, %v, want %v", got, err, syscall.ECONNRESET)
				}
				if want := map[string]string{"sending": "so far"}[name]; string(got) != want {
					t.Errorf("the service reads %q before the reset, want %q", got, want)
				}
				if _, err := g.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
					t.Errorf("Read after Reset = %v, want %v", err, net.ErrClosed)
				}
				_ = guest.Close()
			}
		})
	}
	wantStreams(t, c)
}

// Bytes sent before the reset wait for a service that reads nothing.
func TestGuestConnResetEndsAStuckForward(t *testing.T) {
	c, a := dial(t)
	s := listen(t, "tcp")
	g := openGuest(t, c, s)
	guest, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	stuck := make(chan error, 1)
	go func() { _, err := io.Copy(g, endless{}); stuck <- err }()  // ended by its deadline
	_ = g.SetWriteDeadline(time.Now().Add(500 * time.Millisecond)) // by then nobody takes more
	if err := <-stuck; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a Write to a service that reads nothing = %v, want %v", err, os.ErrDeadlineExceeded)
	}
	_ = g.Reset()
	agenttest.Eventually(t, "the forward has ended", func() bool { return strings.Contains(a.Log.String(), `"forward ended"`) })
	if _, err := io.Copy(io.Discard, guest); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the service reads %v, want %v", err, syscall.ECONNRESET)
	}
	wantStreams(t, c)
}

func TestGuestConnWriteToHoldsItsDeadline(t *testing.T) {
	c, _ := dial(t)
	g := openGuest(t, c, serve(t, "tcp", func(guest halfCloser) { _, _ = io.Copy(guest, endless{}) }))
	_ = g.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	for range 2 {
		if _, err := g.WriteTo(io.Discard); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("WriteTo of a service that sends for ever = %v, want %v", err, os.ErrDeadlineExceeded)
		}
	}
}

func TestOpenGuestIsLostWithItsClient(t *testing.T) {
	c, g := hostile(t)
	conn, err := c.OpenGuest(patiently(t), "tcp", "localhost:80")
	if err != nil {
		t.Fatal(err)
	}
	m := g.receive().(*wire.Forward)
	stream, err := g.mux.Claim(m.Stream)
	if err != nil {
		t.Fatal(err)
	}
	_ = stream.Close() // an end, and no answer
	_ = g.mux.Close()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, client.ErrLost) || errors.Is(err, io.EOF) {
		t.Errorf("Read = %v (%T), want %v", err, err, client.ErrLost)
	}
	_ = conn.Close()
}
