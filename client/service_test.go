//go:build linux

package client_test

import (
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
)

// A service listens in the guest, which a test's own machine is.
type service struct{ net.Listener }

// listen returns one that takes no connections by itself. network is tcp or unix.
func listen(tb testing.TB, network string) *service {
	tb.Helper()
	return &service{agenttest.Listen(tb, network)}
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

func wantStreams(t *testing.T, c *client.Client) {
	t.Helper()
	agenttest.Eventually(t, "all streams but the control stream have ended", func() bool { return client.NumStreams(c) == 1 })
}

// wantBroken wants an error that says that the guest's connection broke, and is not
// io.EOF.
func wantBroken(t *testing.T, what string, err error) {
	t.Helper()
	remote, ok := errors.AsType[*client.RemoteError](err)
	if !ok || remote.Kind != client.NotFound || !strings.Contains(err.Error(), "reset by peer") || errors.Is(err, io.EOF) {
		t.Errorf("%s = %v (%T), want the guest's reset", what, err, err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func heap() uint64 {
	runtime.GC()
	runtime.GC() // pools are emptied by the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func second(_ int, err error) error { return err }
