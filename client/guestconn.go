package client

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A guestAddr is where a service in a guest is.
type guestAddr struct{ network, address string }

func (a guestAddr) Network() string { return a.network }
func (a guestAddr) String() string  { return a.address }

// A guestConn is what DialGuest returns.
type guestConn struct {
	remote guestAddr
	call   *call // the forward
	stream *mux.Stream

	closed atomic.Bool
	readBy atomic.Pointer[time.Time] // nil: never

	mu     sync.Mutex
	broken error // why the agent has ended the stream; nil: it has not been asked for
}

func (g *guestConn) Read(p []byte) (int, error) {
	if t := g.readBy.Load(); t != nil && !t.After(time.Now()) { // however much has come
		return 0, g.fail("read", os.ErrDeadlineExceeded)
	}
	n, err := g.stream.Read(p)
	return n, g.fail("read", err)
}

func (g *guestConn) Write(p []byte) (int, error) {
	n, err := g.stream.Write(p)
	return n, g.fail("write", err)
}

// CloseWrite ends what the service gets. Reading goes on.
func (g *guestConn) CloseWrite() error {
	if g.closed.Load() {
		return g.fail("close", os.ErrClosed)
	}
	return g.stream.Close()
}

// Close is idempotent. A Read and a Write that are blocked fail.
func (g *guestConn) Close() error {
	if g.closed.Swap(true) {
		return nil
	}
	g.stream.Discard() // ends what the service gets before the agent hears of the kill
	_ = g.SetDeadline(time.Time{})
	go g.finish() // ends with its write, or the connection
	return nil
}

// finish has the agent let go of a connection that the service has not ended.
func (g *guestConn) finish() {
	g.stream.Flush()
	select {
	case <-g.call.events: // it has been told about
	default:
		g.call.link.kill(g.call.id)
	}
	g.call.letGo()
	g.call.link.release()
}

func (g *guestConn) LocalAddr() net.Addr  { return guestAddr{g.remote.network, "host"} }
func (g *guestConn) RemoteAddr() net.Addr { return g.remote }

func (g *guestConn) SetDeadline(t time.Time) error {
	return errors.Join(g.SetReadDeadline(t), g.SetWriteDeadline(t))
}

func (g *guestConn) SetReadDeadline(t time.Time) error {
	if t.IsZero() {
		g.readBy.Store(nil)
	} else {
		g.readBy.Store(&t)
	}
	g.stream.SetReadDeadline(t)
	return nil
}

func (g *guestConn) SetWriteDeadline(t time.Time) error {
	g.stream.SetWriteDeadline(t)
	return nil
}

// fail makes a stream's error a connection's.
func (g *guestConn) fail(op string, err error) error {
	switch {
	case err == nil || err == io.EOF: //nolint:errorlint // is it exactly this one
		return err
	case g.closed.Load():
		err = net.ErrClosed
	case errors.Is(err, os.ErrClosed):
		err = syscall.EPIPE // after CloseWrite
	case errors.Is(err, mux.ErrReset):
		err = g.verdict()
	case errors.Is(err, ErrLost):
		<-g.call.link.done // its reader learns why
		err = lostError{g.call.link.lost()}
	}
	return &net.OpError{Op: op, Net: g.remote.network, Source: g.LocalAddr(), Addr: g.remote, Err: err}
}

// A lostError is the error that ended the connection to the agent. It wraps ErrLost,
// and never io.EOF, which a reader of the guest connection would take for its end.
type lostError struct{ err error }

func (e lostError) Error() string        { return e.err.Error() }
func (e lostError) Is(target error) bool { return target != io.EOF && errors.Is(e.err, target) }
func (e lostError) As(target any) bool   { return errors.As(e.err, target) }

var errNoVerdict = fmt.Errorf("%w: the agent reset the stream without a reason", ErrProtocol)

// verdict returns the agent's reason for breaking off the connection. The agent sends
// it first, so it is about to be read.
func (g *guestConn) verdict() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.broken != nil {
		return g.broken
	}
	late := time.NewTimer(time.Second)
	defer late.Stop()
	g.broken = errNoVerdict
	select {
	case m := <-g.call.events:
		if m, ok := m.(*wire.Error); ok {
			g.broken = remoteError(m.Kind, m.Message)
		}
	case <-g.call.link.done:
		g.broken = lostError{g.call.link.lost()}
	case <-late.C:
	}
	return g.broken
}
