//go:build linux

package client_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func TestGuestConnectionPassesOnHalfCloses(t *testing.T) {
	c, _ := dial(t)
	overEachNetwork(t, func(t *testing.T, network string) {
		s := listen(t, network)
		for _, first := range []string{"host", "guest"} {
			t.Run(first, func(t *testing.T) {
				one, other := ends(t, c, s)
				if first == "guest" {
					one, other = other, one
				}
				if _, err := io.WriteString(one, "question"); err != nil {
					t.Error(err)
				}
				if err := one.CloseWrite(); err != nil {
					t.Error(err)
				}
				if got, err := io.ReadAll(other); err != nil || string(got) != "question" {
					t.Errorf("ReadAll = %q, %v, want %q", got, err, "question")
				}
				if _, err := io.WriteString(other, "answer"); err != nil {
					t.Error(err)
				}
				if err := other.CloseWrite(); err != nil {
					t.Error(err)
				}
				if got, err := io.ReadAll(one); err != nil || string(got) != "answer" {
					t.Errorf("ReadAll = %q, %v, want %q", got, err, "answer")
				}
			})
		}
	})
	wantStreams(t, c)
}

func TestGuestConnResetIsNotEOF(t *testing.T) {
	c, _ := dial(t)
	s := listen(t, "tcp")
	for i := range 100 {
		host, guest := ends(t, c, s)
		_ = guest.(*net.TCPConn).SetLinger(0)
		if i%2 == 0 {
			go func() { _, _ = io.Copy(host, endless{}) }() // ends with the connection
		}
		_ = guest.Close()
		_, err := io.Copy(io.Discard, host)
		wantBroken(t, "read", err)
		_, err = host.Read(make([]byte, 1))
		wantBroken(t, "read again", err)
		_, err = host.Write([]byte("x"))
		wantBroken(t, "write", err)
		_ = host.Close()
	}
	wantStreams(t, c)
}

// A server may answer before it has read all of a request, and close.
func TestGuestConnReadsToEOFIfTheServiceCloses(t *testing.T) {
	c, _ := dial(t)
	overEachNetwork(t, func(t *testing.T, network string) {
		heard := make(chan struct{})
		s := serve(t, network, func(guest halfCloser) {
			_, _ = io.ReadFull(guest, make([]byte, 8))
			_, _ = io.WriteString(guest, "answer")
			_ = guest.CloseWrite()
			_, _ = io.CopyN(io.Discard, guest, 100<<10) // and not all that comes
			if network == "unix" {
				<-heard // a close that leaves something unread takes the end away from a slow reader
			}
		})
		host := dialGuest(t, c, s)
		if _, err := io.WriteString(host, "question"); err != nil {
			t.Fatal(err)
		}
		sent := make(chan error, 1)
		go func() { _, err := io.CopyN(host, endless{}, 16<<20); sent <- err }() // thrown away in the guest
		if got, err := io.ReadAll(host); string(got) != "answer" || err != nil {
			t.Errorf("ReadAll = %q, %v, want %q", got, err, "answer")
		}
		close(heard)
		if err := <-sent; err != nil {
			t.Errorf("the host's writes: %v", err)
		}
		_ = host.Close()
	})
	wantStreams(t, c)
}

func TestGuestConnCloseDeliversWrittenBytes(t *testing.T) {
	c, _ := dial(t)
	overEachNetwork(t, func(t *testing.T, network string) {
		s := listen(t, network)
		for range 50 {
			host, guest := ends(t, c, s)
			sent := bytes.Repeat([]byte("x"), 100<<10)
			if _, err := host.Write(sent); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(host.Close(), host.Close()); err != nil {
				t.Error(err)
			}
			if got, err := io.ReadAll(guest); err != nil || !bytes.Equal(got, sent) {
				t.Fatalf("the service has %d bytes of %d, %v", len(got), len(sent), err)
			}
			_ = guest.Close()
		}
	})
	wantStreams(t, c)
}

func TestGuestConnCloseEndsAnEndlessService(t *testing.T) {
	c, _ := dial(t)
	ended := make(chan error, 1)
	s := serve(t, "tcp", func(guest halfCloser) {
		_, err := io.Copy(guest, endless{})
		ended <- err
	})
	host := dialGuest(t, c, s)
	_ = host.Close()
	if err := <-ended; err == nil {
		t.Error("its writes have not failed")
	}
	wantStreams(t, c)
}

func TestCallsOnAClosedGuestConnectionSaySo(t *testing.T) {
	c, _ := dial(t)
	host, _ := ends(t, c, listen(t, "tcp"))
	blocked := make(chan error, 2)
	go func() { _, err := host.Read(make([]byte, 1)); blocked <- err }() // ended by Close
	go func() { _, err := io.Copy(host, endless{}); blocked <- err }()   // likewise
	_ = host.Close()
	for _, err := range []error{<-blocked, <-blocked, second(host.Read(nil)), second(host.Write([]byte("x"))), host.CloseWrite()} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v (%T), want %v", err, err, net.ErrClosed)
		}
	}
}

func TestWriteAfterCloseWriteIsABrokenPipe(t *testing.T) {
	c, _ := dial(t)
	host, _ := ends(t, c, listen(t, "tcp"))
	if err := errors.Join(host.CloseWrite(), host.CloseWrite()); err != nil {
		t.Error(err)
	}
	if _, err := host.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Error(err)
	}
}

func TestGuestConnectionIsLostWithItsClient(t *testing.T) {
	for name, end := range map[string]func(*client.Client, *agenttest.Agent) error{
		"closed by the host": func(c *client.Client, _ *agenttest.Agent) error { return c.Close() },
		"agent shut down": func(_ *client.Client, a *agenttest.Agent) error {
			a.Shutdown(t)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, a := dial(t)
			host, guest := ends(t, c, listen(t, "tcp"))
			_, _ = io.WriteString(guest, "so far")
			got := make([]byte, 6)
			if _, err := io.ReadFull(host, got); err != nil {
				t.Fatal(err)
			}
			if err := end(c, a); err != nil {
				t.Fatal(err)
			}
			for what, err := range map[string]error{"read": second(host.Read(got)), "write": second(host.Write(got))} {
				remote, ok := errors.AsType[*client.RemoteError](err)
				said := ok && remote.Kind == client.ShuttingDown
				if errors.Is(err, io.EOF) || !said && !errors.Is(err, client.ErrLost) {
					t.Errorf("%s = %v (%T), want %v or an error of kind %s", what, err, err, client.ErrLost, client.ShuttingDown)
				}
			}
			if _, err := io.ReadAll(guest); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the service reads %v", err)
			}
			_ = host.Close()
		})
	}
}

func TestGuestConnCutIsNotEOF(t *testing.T) {
	a := agenttest.Start(t)
	s := serve(t, "tcp", func(guest halfCloser) { _, _ = io.Copy(guest, endless{}) })
	for name, strike := range map[string]func(*faultConn) error{"hung up": hangUp, "reset": reset} {
		t.Run(name, func(t *testing.T) {
			for at := int64(500); at < 200_000; at += 20_011 {
				c, err := client.DialWith(t.Context(), dialFaulty(a.Path, &fault{at: at, strike: strike}, &fault{}))
				if err != nil {
					t.Fatal(err)
				}
				host, err := c.DialGuest(patiently(t), "tcp", s.Addr().String())
				if err == nil {
					_, err = io.Copy(io.Discard, host)
					_ = host.Close()
				}
				if !errors.Is(err, client.ErrLost) || errors.Is(err, io.EOF) {
					t.Errorf("cut at byte %d: %v (%T)", at, err, err)
				}
				_ = c.Close()
			}
		})
	}
}

func TestGuestConnResetWithoutReasonIsAnError(t *testing.T) {
	c, g := hostile(t)
	go func() { // ends with its messages
		m := g.receive().(*wire.Forward)
		g.send(&wire.Started{Head: wire.Head{ID: m.ID}})
		stream, err := g.mux.Claim(m.Stream)
		if err != nil {
			t.Error(err)
			return
		}
		stream.Reset()
	}()
	nc, err := c.DialGuest(patiently(t), "tcp", "localhost:80")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "without a reason") {
		t.Error(err)
	}
}
