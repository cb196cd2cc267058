//go:build linux

package client_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A faultConn is a host's connection with a fault in one direction or both.
type faultConn struct {
	net.Conn
	in, out *fault // what the host reads, and what it writes

	once   sync.Once
	closed chan struct{}
}

func (f *faultConn) Close() error {
	f.once.Do(func() { close(f.closed) })
	return f.Conn.Close()
}

// A fault strikes when a number of bytes have passed. Its zero value never does.
type fault struct {
	at     int64                       // where it strikes, in bytes; 0: nowhere, 1: before the first
	strike func(conn *faultConn) error // an error is the connection's, for good
	step   int                         // bytes that pass at a time; 0: any number
	jitter bool                        // they come in pieces and late, by chance

	mu     sync.Mutex
	passed int64
	struck bool
	err    error
}

func (f *faultConn) Read(p []byte) (int, error) {
	allowed, err := f.in.allow(f, len(p))
	if err != nil {
		return 0, err
	}
	n, err := f.Conn.Read(p[:allowed])
	f.in.pass(n)
	return n, err
}

func (f *faultConn) Write(p []byte) (int, error) {
	total := 0
	for total < len(p) {
		allowed, err := f.out.allow(f, len(p)-total)
		if err != nil {
			return total, err
		}
		n, err := f.Conn.Write(p[total : total+allowed])
		total += n
		f.out.pass(n)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// allow returns how many of n bytes may pass. If none may, it strikes first.
func (f *fault) allow(conn *faultConn, n int) (int, error) {
	f.mu.Lock()
	left := int64(n)
	if f.at > 0 && !f.struck {
		left = f.at - 1 - f.passed
	}
	strikes := left == 0 && n > 0
	f.struck = f.struck || strikes
	err := f.err
	f.mu.Unlock()
	if strikes {
		err = f.strike(conn)
		f.mu.Lock()
		f.err = err
		f.mu.Unlock()
		left = int64(n)
	}
	if err != nil {
		return 0, err
	}
	n = min(n, int(left))
	if f.step > 0 {
		n = min(n, f.step)
	}
	if f.jitter {
		n = 1 + rand.IntN(n)
		<-time.After(rand.N(200 * time.Microsecond)) // the lateness is what is tested
	}
	return n, nil
}

func (f *fault) pass(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.passed += int64(n)
}

func (f *fault) count() (passed int64, struck bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.passed, f.struck
}

// Strikes.
var (
	hangUp = func(conn *faultConn) error { _ = conn.Close(); return io.EOF }
	reset  = func(conn *faultConn) error { _ = conn.Close(); return syscall.ECONNRESET }
)

// A stall blocks its direction until it is released, or the connection closed.
type stall struct{ begun, released chan struct{} }

func newStall() *stall { return &stall{begun: make(chan struct{}), released: make(chan struct{})} }

func (s *stall) strike(conn *faultConn) error {
	close(s.begun)
	select {
	case <-s.released:
		return nil
	case <-conn.closed:
		return net.ErrClosed
	}
}

// dialFaulty returns a way to connect to the agent, with faults.
func dialFaulty(path string, in, out *fault) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", path)
		if err != nil {
			return nil, err
		}
		return &faultConn{Conn: conn, in: in, out: out, closed: make(chan struct{})}, nil
	}
}

// directions are those in which a fault may strike.
func directions(tb testing.TB, story func(name string, in, out func(*fault) *fault)) {
	tb.Helper()
	here := func(f *fault) *fault { return f }
	none := func(*fault) *fault { return &fault{} }
	story("from the guest", here, none)
	story("to the guest", none, here)
}
