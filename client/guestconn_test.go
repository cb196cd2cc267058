//go:build linux

package client_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/net/nettest"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
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
	eventually(t, "all streams have ended", func() bool { return client.NumStreams(c) == 1 })
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

var _ = agenttest.Patience
