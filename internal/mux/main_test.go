package mux_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// socketpair returns the ends of a Unix socket's connection, or of a TCP connection in Windows:
// Wine has no Unix sockets.
func socketpair(tb testing.TB) (net.Conn, net.Conn) {
	tb.Helper()
	dir, err := os.MkdirTemp("", "mux") // a Unix socket's path is short
	if err != nil {
		tb.Fatal(err)
	}
	defer os.RemoveAll(dir)
	network, address := "unix", filepath.Join(dir, "s")
	if runtime.GOOS == "windows" {
		network, address = "tcp", "127.0.0.1:0"
	}
	ln, err := net.Listen(network, address)
	if err != nil {
		tb.Fatal(err)
	}
	defer ln.Close()
	near, err := net.Dial(network, ln.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _, _ = near.Close(), far.Close() })
	return near, far
}

// A pair is a session with its two sides.
type pair struct {
	host, agent *mux.Session
	control     *mux.Stream // the host's end
}

// connect makes a session over a connection; the end of the test closes it.
func connect(tb testing.TB, near, far io.ReadWriteCloser) *pair {
	tb.Helper()
	return connectBy(tb, near, far, mux.Server)
}

func connectBy(tb testing.TB, near, far io.ReadWriteCloser, server func(io.ReadWriteCloser) *mux.Session) *pair {
	tb.Helper()
	agent := server(far)
	tb.Cleanup(func() { _ = agent.Close() })
	host, control, err := mux.Client(near, "")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = host.Close() })
	return &pair{host, agent, control}
}

func newPair(tb testing.TB) *pair {
	tb.Helper()
	near, far := socketpair(tb)
	return connect(tb, near, far)
}

// connectPipe is newPair within a bubble of synctest, which a socket leaves.
func connectPipe(tb testing.TB) *pair {
	tb.Helper()
	near, far := net.Pipe()
	return connect(tb, near, far)
}

// stream opens a stream and claims it.
func (p *pair) stream(tb testing.TB) (host, agent *mux.Stream) {
	tb.Helper()
	host, err := p.host.Open()
	if err != nil {
		tb.Fatal(err)
	}
	agent, err = p.agent.Claim(host.ID())
	if err != nil {
		tb.Fatal(err)
	}
	return host, agent
}

// wantLost checks that what has failed has failed for the connection's end.
func wantLost(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, mux.ErrLost) {
		t.Errorf("%s: %v, want ErrLost", what, err)
	}
}

// within fails the test if f takes for ever.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(yamuxPatience):
		t.Fatalf("%s: still not done after %v", what, yamuxPatience)
	}
}

// until waits for what another goroutine is about to bring about.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	within(t, what, func() {
		for !done() {
			time.Sleep(time.Millisecond) //nolint:forbidigo // the poll's interval, not a synchronisation
		}
	})
}
