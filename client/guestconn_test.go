//go:build linux

package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A service listens in the guest, which a test's own machine is.
type service struct{ net.Listener }

// listen returns one that takes no connections by itself. network is tcp or unix.
func listen(tb testing.TB, network string) *service {
	tb.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		dir, err := os.MkdirTemp("", "guest") // a Unix socket's path is short
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() { _ = os.RemoveAll(dir) })
		address = filepath.Join(dir, "s")
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = ln.Close() })
	return &service{ln}
}

// serve is listen with a service that does as serve says with each connection,
// and then closes it.
func serve(tb testing.TB, network string, do func(halfCloser)) *service {
	tb.Helper()
	s := listen(tb, network)
	var serving sync.WaitGroup
	serving.Go(func() { // ended by Close
		for {
			nc, err := s.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { // ended by its peer's end
				defer nc.Close()
				do(nc.(halfCloser))
			})
		}
	})
	tb.Cleanup(func() { _ = s.Close(); serving.Wait() })
	return s
}

// A halfCloser is a *net.TCPConn, a *net.UnixConn, or what DialGuest returns.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

func echo(c halfCloser) {
	_, _ = io.Copy(c, c)
	_ = c.CloseWrite()
}

// dialGuest connects to a service, until the end of the test.
func dialGuest(tb testing.TB, c *client.Client, s net.Listener) halfCloser {
	tb.Helper()
	nc, err := c.DialGuest(patiently(tb), s.Addr().Network(), s.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = nc.Close() })
	return nc.(halfCloser)
}

// ends returns both ends of a connection to a service, until the end of the test.
func ends(tb testing.TB, c *client.Client, s net.Listener) (host, guest halfCloser) {
	tb.Helper()
	host = dialGuest(tb, c, s)
	nc, err := s.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = nc.Close() })
	return host, nc.(halfCloser)
}

func overEachNetwork(t *testing.T, test func(t *testing.T, network string)) {
	t.Helper()
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) { test(t, network) })
	}
}

func TestGuestConnectionIsANetConn(t *testing.T) {
	c, _ := dial(t)
	overEachNetwork(t, func(t *testing.T, network string) {
		s := listen(t, network)
		pipe := func() (net.Conn, net.Conn, func(), error) {
			host, err := c.DialGuest(patiently(t), network, s.Addr().String())
			if err != nil {
				return nil, nil, nil, err
			}
			guest, err := s.Accept()
			return host, guest, func() { _, _ = host.Close(), guest.Close() }, err
		}
		t.Run("host", func(t *testing.T) { nettest.TestConn(t, pipe) })
		t.Run("guest", func(t *testing.T) {
			nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
				host, guest, stop, err := pipe()
				return guest, host, stop, err
			})
		})
	})
}

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
					t.Errorf("%q, %v", got, err)
				}
				if _, err := io.WriteString(other, "answer"); err != nil {
					t.Error(err)
				}
				if err := other.CloseWrite(); err != nil {
					t.Error(err)
				}
				if got, err := io.ReadAll(one); err != nil || string(got) != "answer" {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
	})
	wantStreams(t, c)
}

func TestGuestConnectionToWhatIsNotThereSaysSo(t *testing.T) {
	c, _ := dial(t)
	s := listen(t, "tcp")
	_ = s.Close()
	for network, address := range map[string]string{"tcp": s.Addr().String(), "unix": "/nosuch/socket"} {
		_, err := c.DialGuest(patiently(t), network, address)
		wantKind(t, err, client.NotFound)
		if _, ok := errors.AsType[*net.OpError](err); !ok {
			t.Errorf("%T", err)
		}
	}
	wantStreams(t, c)
}

func wantStreams(t *testing.T, c *client.Client) {
	t.Helper()
	eventually(t, "all streams but the control stream have ended", func() bool { return client.NumStreams(c) == 1 })
}

// wantBroken wants an error that is no end, and says that the guest's connection
// broke.
func wantBroken(t *testing.T, what string, err error) {
	t.Helper()
	remote, ok := errors.AsType[*client.RemoteError](err)
	if !ok || remote.Kind != client.NotFound || !strings.Contains(err.Error(), "reset by peer") || errors.Is(err, io.EOF) {
		t.Errorf("%s: %v (%T)", what, err, err)
	}
}

func TestGuestConnectionThatIsResetIsBrokenAndNoEnd(t *testing.T) {
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

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// A server may answer before it has read all of a request, and close.
func TestGuestConnectionWhoseServiceClosesEarlyIsReadToItsEnd(t *testing.T) {
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
			t.Errorf("%q, %v", got, err)
		}
		close(heard)
		if err := <-sent; err != nil {
			t.Errorf("the host's writes: %v", err)
		}
		_ = host.Close()
	})
	wantStreams(t, c)
}

func TestGuestConnectionCarriesLargeAmountsBothWays(t *testing.T) {
	c, _ := dial(t)
	size := 64 << 20
	if testing.Short() {
		size = 8 << 20
	}
	overEachNetwork(t, func(t *testing.T, network string) {
		host, guest := ends(t, c, listen(t, network))
		var all sync.WaitGroup
		for i, way := range [][2]halfCloser{{host, guest}, {guest, host}} {
			from, to, seed := way[0], way[1], [32]byte{byte(i)}
			all.Go(func() {
				if _, err := io.CopyN(from, rand.NewChaCha8(seed), int64(size)); err != nil {
					t.Error(err)
				}
				_ = from.CloseWrite()
			})
			all.Go(func() {
				got, want := sha256.New(), sha256.New()
				_, _ = io.CopyN(want, rand.NewChaCha8(seed), int64(size))
				if n, err := io.Copy(got, to); n != int64(size) || err != nil || !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
					t.Errorf("%d bytes, %v, or other bytes than were sent", n, err)
				}
			})
		}
		all.Wait()
	})
}

func TestHundredGuestConnectionsAtOnceKeepApartAndLeaveNothing(t *testing.T) {
	c, _ := dial(t)
	s := serve(t, "tcp", echo)
	if err := c.Ping(patiently(t)); err != nil { // all of the connection is there
		t.Fatal(err)
	}
	before := resources(t)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			host := dialGuest(t, c, s)
			defer host.Close()
			sent := bytes.Repeat(fmt.Appendf(nil, "%3d,", i), 50_000)
			go func() { _, _ = host.Write(sent); _ = host.CloseWrite() }() // ends with the connection
			if got, err := io.ReadAll(host); err != nil || !bytes.Equal(got, sent) {
				t.Errorf("%d: %d bytes of %d, %v", i, len(got), len(sent), err)
			}
		})
	}
	all.Wait()
	wantStreams(t, c)
	eventually(t, "descriptors and goroutines are what they were", func() bool {
		now := resources(t)
		return now.fds <= before.fds && now.goroutines <= before.goroutines
	})
}

func TestIdleGuestConnectionsCostTheAgentNoBuffers(t *testing.T) {
	c, _ := dial(t)
	s := listen(t, "unix")
	for range 64 {
		host, guest := ends(t, c, s)
		if _, err := io.WriteString(host, "x"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(guest, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	before := heap()
	for range 64 {
		ends(t, c, s)
	}
	// Both sides, and the service, are in this process.
	if each := (int64(heap()) - int64(before)) / 64; each > 16<<10 {
		t.Errorf("%d bytes each", each)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // pools are emptied by the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestSideThatDoesNotReadHoldsUpNobodyElse(t *testing.T) {
	c, _ := dial(t)
	s := listen(t, "tcp")
	for _, stuck := range []string{"guest", "host"} {
		t.Run(stuck, func(t *testing.T) {
			var floods sync.WaitGroup
			var flooding []halfCloser
			for range 8 {
				from, to := ends(t, c, s)
				if stuck == "host" {
					from, to = to, from
				}
				flooding = append(flooding, from, to)
				floods.Go(func() { _, _ = io.Copy(from, endless{}) }) // ended by Close
			}
			defer func() {
				for _, end := range flooding {
					_ = end.Close()
				}
				floods.Wait()
			}()
			for range 20 {
				if out, err := c.CommandContext(patiently(t), "echo", "on").Output(); err != nil || string(out) != "on\n" {
					t.Fatalf("%q, %v", out, err)
				}
			}
			host, guest := ends(t, c, s)
			_, _ = io.WriteString(host, "x")
			if _, err := io.ReadFull(guest, make([]byte, 1)); err != nil {
				t.Error(err)
			}
		})
	}
	wantStreams(t, c)
}

func TestCloseOfAGuestConnectionDeliversWhatWasWritten(t *testing.T) {
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

func TestCloseOfAGuestConnectionEndsAServiceThatNeverEnds(t *testing.T) {
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
			t.Errorf("%v (%T)", err, err)
		}
	}
}

func second(_ int, err error) error { return err }

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
					t.Errorf("%s: %v (%T)", what, err, err)
				}
			}
			if _, err := io.ReadAll(guest); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the service reads %v", err)
			}
			_ = host.Close()
		})
	}
}

func TestConnectionCutUnderAGuestConnectionIsNoEnd(t *testing.T) {
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

// As while a VM is paused: nothing goes out, and nothing comes.
func TestDeadlinesAndCloseOfAGuestConnectionHoldWhileTheConnectionIsStalled(t *testing.T) {
	a := agenttest.Start(t)
	stall := newStall()
	c, err := client.DialWith(t.Context(), dialFaulty(a.Path, &fault{}, &fault{at: 100_000, strike: stall.strike}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer close(stall.released)
	s := serve(t, "tcp", func(guest halfCloser) { _, _ = io.Copy(io.Discard, guest) })
	host, other := dialGuest(t, c, s), dialGuest(t, c, s)
	_ = host.SetDeadline(time.Now().Add(100 * time.Millisecond))
	for what, err := range map[string]error{
		"write": second(host.Write(make([]byte, 1<<20))), "write again": second(host.Write([]byte("x"))), "read": second(host.Read(make([]byte, 1))),
	} {
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", what, err)
		}
	}
	blocked := make(chan error, 1)
	go func() { _, err := other.Write(make([]byte, 1<<20)); blocked <- err }() // ended by Close
	<-stall.begun
	_, _ = host.Close(), other.Close()
	if err := <-blocked; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := c.DialGuest(ctx, "tcp", s.Addr().String()); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestDialGuestThatIsCancelledLeavesNothing(t *testing.T) {
	c, a := dial(t)
	s := serve(t, "unix", echo)
	for i := range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*10*time.Microsecond)
		if nc, err := c.DialGuest(ctx, "unix", s.Addr().String()); err == nil {
			_ = nc.Close()
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		cancel()
	}
	wantStreams(t, c)
	eventually(t, "all that has started has ended", func() bool {
		return strings.Count(a.Log.String(), `"forward started"`) == strings.Count(a.Log.String(), `"forward ended"`)
	})
}

func TestDialGuestRefusalsAreRemoteErrors(t *testing.T) {
	a := agenttest.StartWith(t, func(config *session.Config) { config.Caps.Execs = 1 })
	c := connect(t, a.Target)
	s := listen(t, "tcp")
	_, err := c.DialGuest(patiently(t), "tcp", "10.0.0.1:80")
	wantKind(t, err, client.BadRequest)
	ends(t, c, s)
	_, err = c.DialGuest(patiently(t), "tcp", s.Addr().String())
	wantKind(t, err, client.Limit)
	_, err = c.DialGuest(patiently(t), "unix", "/"+strings.Repeat("x", 5<<20))
	if err == nil || !strings.Contains(err.Error(), "the address is too long") {
		t.Errorf("%.300v", err)
	}
}

func TestDialGuestOfAnAgentThatIsTooOldIsUnsupported(t *testing.T) {
	c, g := hostile(t)
	go func() { // ends with its messages
		m, ok := g.receive().(*wire.Forward)
		if !ok {
			t.Errorf("%T", m)
			return
		}
		g.send(&wire.Error{Head: wire.Head{ID: m.ID}, Kind: wire.Unsupported, Message: `this agent knows no request "forward"`})
	}()
	_, err := c.DialGuest(patiently(t), "tcp", "localhost:80")
	wantKind(t, err, client.Unsupported)
}

func TestGuestConnectionThatIsBrokenOffWithoutAReasonIsAnError(t *testing.T) {
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
	if _, err := nc.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "does not say why") {
		t.Error(err)
	}
}
