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

// A GuestConn is a connection to a service in a guest, or from a program there that has
// connected to a [GuestListener]: read "the service" as that program. [Client.DialGuest] and
// [Client.OpenGuest] make it, and the caller closes it. It is safe for concurrent use.
//
// Each direction ends by itself, as that of a *net.TCPConn. Read returns io.EOF only when
// the service has ended what it sends. If the service's connection was broken off, Read
// returns a *net.OpError that wraps a [*RemoteError]. If the connection to the agent has
// ended, it wraps [ErrLost].
//
// Write returns when its bytes are on their way, and guarantees no more. If a service
// ends what it sends and then closes early, Write does not fail, and the agent throws
// away what the service does not take.
type GuestConn struct {
	remote, local guestAddr

	from   uint64 // of the listener that the connection has come to; 0: none
	call   *call  // the forward
	stream *mux.Stream

	closed atomic.Bool
	readBy atomic.Pointer[time.Time] // nil: never

	refused atomic.Bool // broken is why the connection was not made

	// Both directions have ended if both are set: the agent has nothing to let go of.
	readEnd, writeEnd atomic.Bool

	mu       sync.Mutex
	answered bool  // the agent has made the connection, or broken is set
	broken   error // why the agent has ended the stream; nil: it has not been asked for
}

// Read reads what the service sends.
func (g *GuestConn) Read(p []byte) (int, error) {
	if g.isLate() { // however much has come
		return 0, g.fail("read", os.ErrDeadlineExceeded)
	}
	n, err := g.stream.Read(p)
	return n, g.ended(err)
}

// WriteTo writes to w what the service sends, until the service ends that, and then
// returns nil. Other errors are those of Read, or w's. It holds no buffer while the service
// is silent. The time of SetReadDeadline ends it after a Write of w, at the latest.
func (g *GuestConn) WriteTo(w io.Writer) (int64, error) {
	if g.isLate() {
		return 0, g.fail("read", os.ErrDeadlineExceeded)
	}
	to := &timely{to: w, conn: g}
	var n int64
	var err error
	if try, ok := w.(mux.TryWriter); ok {
		n, err = g.stream.WriteTo(&timelyTry{to, try})
	} else {
		n, err = g.stream.WriteTo(to)
	}
	switch {
	case to.err != nil:
		return n, to.err
	case err == nil:
		err = io.EOF
	}
	if err = g.ended(err); err == io.EOF { //nolint:errorlint // is it exactly this one
		err = nil
	}
	return n, err
}

// A timely is the Writer of a WriteTo.
type timely struct {
	to   io.Writer
	conn *GuestConn
	err  error // of to, or of the deadline
}

func (t *timely) Write(p []byte) (n int, err error) {
	n, t.err = t.to.Write(p)
	if t.err == nil && t.conn.isLate() {
		t.err = t.conn.fail("read", os.ErrDeadlineExceeded)
	}
	return n, t.err
}

// A timelyTry is a timely for a Writer that the connection's receiving goroutine may write to.
type timelyTry struct {
	*timely
	try mux.TryWriter
}

// TryWrite is Write that does not block.
func (t *timelyTry) TryWrite(p []byte) (n int, err error) {
	n, t.err = t.try.TryWrite(p)
	if t.err == nil && t.conn.isLate() {
		t.err = t.conn.fail("read", os.ErrDeadlineExceeded)
	}
	return n, t.err
}

// isLate reports whether the time to read has passed.
func (g *GuestConn) isLate() bool {
	t := g.readBy.Load()
	return t != nil && !t.After(time.Now())
}

// ended returns what a read's error means. A stream that ends before the agent has
// answered is that of a connection that was not made.
func (g *GuestConn) ended(err error) error {
	if err != io.EOF || g.closed.Load() { //nolint:errorlint // is it exactly this one
		return g.fail("read", err)
	}
	if err := g.verdict(false); err != nil {
		return g.opError("read", err)
	}
	g.readEnd.Store(true)
	return io.EOF
}

// Write writes to the service.
func (g *GuestConn) Write(p []byte) (int, error) {
	n, err := g.stream.Write(p)
	return n, g.fail("write", err)
}

// CloseWrite ends what the service gets. Reading goes on.
func (g *GuestConn) CloseWrite() error {
	if g.closed.Load() {
		return g.fail("close", os.ErrClosed)
	}
	g.writeEnd.Store(true)
	return g.stream.Close()
}

// Close ends both directions. It does not wait, and is idempotent. A Read and a Write
// that are blocked fail. The service still gets what was written before, as long as it
// takes some every 5 seconds. (As over TCP, one that sends meanwhile may lose the last
// of it: to be sure, call CloseWrite and read to the end.)
func (g *GuestConn) Close() error {
	g.close(g.stream.Discard, false) // ends what the service gets before the agent hears of the kill
	return nil
}

// Reset is Close that breaks the connection off: a service that reads gets what was
// written before, and then, over TCP, ECONNRESET, which it cannot take for an end. A Unix
// socket has no such signal; there it is an end. A service that takes nothing for a second
// may lose what was written. Reset after Close does nothing.
func (g *GuestConn) Reset() error {
	g.close(g.stream.Reset, true)
	return nil
}

func (g *GuestConn) close(end func(), reset bool) {
	if g.closed.Swap(true) {
		return
	}
	end()
	_ = g.SetDeadline(time.Time{})
	go g.finish(reset) // ends with its write, or the connection
}

// finish has the agent let go of a connection that the service has not ended. One that is
// not made yet is made first: the service is to get what was written.
func (g *GuestConn) finish(reset bool) {
	g.stream.Flush()
	if !g.readEnd.Load() || !g.writeEnd.Load() {
		g.kill(reset)
	}
	g.call.letGo()
	g.call.link.release()
}

func (g *GuestConn) kill(reset bool) {
	if !g.isAnswered() {
		g.answer(answerTime)
	}
	if reset {
		g.answer(resetTime)
		g.call.force = true
	}
	if g.call.isUnanswered() {
		g.call.withdraw()
	}
}

// LocalAddr returns a name for the host, or the address of the listener.
func (g *GuestConn) LocalAddr() net.Addr { return g.local }

// RemoteAddr returns the service's address, or that of the guest's client.
func (g *GuestConn) RemoteAddr() net.Addr { return g.remote }

// SetDeadline sets the times of SetReadDeadline and SetWriteDeadline.
func (g *GuestConn) SetDeadline(t time.Time) error {
	return errors.Join(g.SetReadDeadline(t), g.SetWriteDeadline(t))
}

// SetReadDeadline sets when Read fails. The zero time: never.
func (g *GuestConn) SetReadDeadline(t time.Time) error {
	if t.IsZero() {
		g.readBy.Store(nil)
	} else {
		g.readBy.Store(&t)
	}
	g.stream.SetReadDeadline(t)
	return nil
}

// SetWriteDeadline sets when Write fails, also while the connection to the agent takes no
// bytes. The zero time: never.
func (g *GuestConn) SetWriteDeadline(t time.Time) error {
	g.stream.SetWriteDeadline(t)
	return nil
}

// fail makes a stream's error a connection's.
func (g *GuestConn) fail(op string, err error) error {
	switch {
	case err == nil || err == io.EOF: //nolint:errorlint // is it exactly this one
		return err
	case g.closed.Load():
		err = net.ErrClosed
	case errors.Is(err, os.ErrClosed):
		err = syscall.EPIPE // after CloseWrite
	case errors.Is(err, mux.ErrReset):
		err = g.verdict(true)
	case errors.Is(err, ErrLost):
		<-g.call.link.done // its reader learns why
		err = lostError{g.call.link.lost()}
	}
	return g.opError(op, err)
}

func (g *GuestConn) opError(op string, err error) error {
	if g.refused.Load() {
		return g.dialError(err)
	}
	return &net.OpError{Op: op, Net: g.remote.network, Source: g.LocalAddr(), Addr: g.remote, Err: err}
}

// A lostError is the error that ended the connection to the agent. It wraps ErrLost,
// and never io.EOF, which a reader of the guest connection would take for its end.
type lostError struct{ err error }

func (e lostError) Error() string        { return e.err.Error() }
func (e lostError) Is(target error) bool { return target != io.EOF && errors.Is(e.err, target) }
func (e lostError) As(target any) bool   { return errors.As(e.err, target) }

var errNoVerdict = fmt.Errorf("%w: the agent ended the stream without a reason", ErrProtocol)

// verdict returns the agent's reason for not making the connection or, if it is broken, for
// breaking it off. The agent sends the reason first, so it is about to be read. nil: the
// connection was made, and is not broken.
func (g *GuestConn) verdict(broken bool) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	late := time.NewTimer(verdictTime)
	defer late.Stop()
	for g.broken == nil && (broken || !g.answered) {
		select {
		case m := <-g.call.events:
			g.heardLocked(m)
			continue
		case <-g.call.link.done:
			g.broken = lostError{g.call.link.lost()}
		case <-late.C:
			g.broken = errNoVerdict
		}
		select { // it may have come at the last moment
		case m := <-g.call.events:
			g.broken = nil
			g.heardLocked(m)
		default:
		}
	}
	return g.broken
}

func (g *GuestConn) isAnswered() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.answered
}

// answer waits for the agent's next answer to the forward, if one is to come.
func (g *GuestConn) answer(within time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.call.isUnanswered() {
		return
	}
	late := time.NewTimer(within)
	defer late.Stop()
	select {
	case m := <-g.call.events:
		g.heardLocked(m)
	case <-g.call.link.done:
	case <-late.C:
	}
}

const (
	answerTime = 15 * time.Second // is more than an agent has to connect to a service
	resetTime  = time.Second      // is what a service has to take what was sent before a reset
)

// verdictTime is how long the reason may take that the agent has sent.
const verdictTime = time.Second

func (g *GuestConn) heardLocked(m wire.Message) {
	made := g.answered
	g.answered = true
	e, failed := m.(*wire.Error)
	switch {
	case failed:
		g.broken = remoteError(e.Kind, e.Message)
		g.refused.Store(!made)
	case made: // done: both directions have ended
		g.broken = errNoVerdict
	}
}
