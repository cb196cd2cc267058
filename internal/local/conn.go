package local

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

	"github.com/cocoonstack/cocoon-agent/internal/lane"
)

// A socket is a *net.TCPConn or a *net.UnixConn.
type socket interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// A Conn is a connection to a service, or one that was accepted: then "the service" is the
// program that has connected. CopyTo and CopyFrom are for one goroutine
// each; all else may be called at any time. The caller closes it.
type Conn struct {
	socket socket
	raw    syscall.RawConn
	ended  atomic.Bool // the service has been told the end of what it gets

	writing  sync.Mutex // held during a write
	writeErr error      // why the service takes no more

	mu       sync.Mutex
	stopped  bool
	patience time.Duration // of a write without progress, once it has been stopped; 0: no more than it has
}

// CopyTo copies what the service sends to w, until the service ends that, and
// then returns nil. Other errors are w's, or wrap [ErrBroken], or
// os.ErrDeadlineExceeded after [Conn.Stop]. n is how many bytes w has taken.
//
// While the service is silent no buffer is held; a w that blocks holds one.
func (c *Conn) CopyTo(w io.Writer) (n int64, err error) {
	l := lane.PollReader{Raw: c.raw}
	defer l.Close()
	for {
		b, err := l.Next()
		switch {
		case errors.Is(err, io.EOF):
			return n, c.endError()
		case errors.Is(err, os.ErrDeadlineExceeded):
			return n, err
		case err != nil:
			return n, fmt.Errorf("%w: %w", ErrBroken, err)
		}
		wrote, err := w.Write(b)
		n += int64(wrote)
		l.Release()
		if err != nil {
			return n, err
		}
	}
}

// endError returns ErrBroken if the end that was read was caused by a reset. The
// kernel tells of a reset once: if a write was told, reading finds an end. Such a
// socket has hung up, and so no write is held up on it.
func (c *Conn) endError() error {
	if !lane.HungUp(c.raw) {
		return nil
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if isReset(c.writeErr) {
		return fmt.Errorf("%w: %w", ErrBroken, syscall.ECONNRESET)
	}
	return nil
}

// Accepted returns the Conn of a connection that was accepted, a *net.TCPConn or a
// *net.UnixConn. The Conn closes it.
func Accepted(nc net.Conn) (*Conn, error) {
	s, ok := nc.(socket)
	if !ok {
		return nil, fmt.Errorf("%w: %T", ErrUnsupported, nc)
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &Conn{socket: s, raw: raw}, nil
}

// CopyAll is CopyFrom for a peer that is to take everything: if it does not, the error wraps
// [ErrBroken], and nothing is thrown away unnoticed.
func (c *Conn) CopyAll(src io.WriterTo) (n int64, err error) {
	return c.copyFrom(src, &writer{conn: c, wanted: true, all: true})
}

// CopyFrom copies from src until src ends, when its WriteTo returns nil: then CopyFrom
// ends what the service gets, and returns nil. Other errors are src's, or come from
// Stop and Close. Bytes that the service does not take are thrown away. n is how many
// bytes it has been sent.
func (c *Conn) CopyFrom(src io.WriterTo) (n int64, err error) {
	return c.copyFrom(src, &writer{conn: c, wanted: true})
}

func (c *Conn) copyFrom(src io.WriterTo, w *writer) (n int64, err error) {
	if _, err = src.WriteTo(w); err != nil {
		return w.n, err
	}
	if w.wanted {
		_ = c.socket.CloseWrite() // one that has hung up needs none
	}
	c.ended.Store(true)
	return w.n, nil
}

// A writer writes for one CopyFrom or CopyAll.
type writer struct {
	conn   *Conn
	wanted bool // the service takes more
	all    bool // it is an error if it does not
	n      int64
}

func (w *writer) Write(p []byte) (int, error) {
	if !w.wanted {
		return w.wrote(p, 0, nil)
	}
	n, err := w.conn.write(p)
	return w.wrote(p, n, err)
}

// TryWrite makes the writer a mux.TryWriter: whoever has received p sends it on without waking
// CopyFrom.
func (w *writer) TryWrite(p []byte) (int, error) {
	if !w.wanted {
		return w.wrote(p, 0, nil)
	}
	if !w.conn.writing.TryLock() {
		return 0, nil
	}
	defer w.conn.writing.Unlock()
	n, err := lane.TryWrite(w.conn.raw, p)
	if err == nil {
		w.n += int64(n)
		return n, nil
	}
	w.conn.writeErr = err
	return w.wrote(p, n, err)
}

// wrote returns the answer to a write of p after the service has taken n bytes of it.
func (w *writer) wrote(p []byte, n int, err error) (int, error) {
	if w.wanted {
		w.n += int64(n)
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err // by this side
		}
		if w.all && err != nil {
			return n, fmt.Errorf("%w: %w", ErrBroken, err)
		}
		w.wanted = err == nil
	}
	if !w.wanted && w.conn.isStopped() {
		return 0, net.ErrClosed // src might go on for ever
	}
	return len(p), nil
}

func (c *Conn) write(p []byte) (total int, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	for {
		c.extend()
		n, err := c.socket.Write(p[total:])
		total += n
		if errors.Is(err, os.ErrDeadlineExceeded) && n > 0 {
			continue // it is not over while there is progress
		}
		if err != nil {
			c.writeErr = err
		}
		return total, err
	}
}

// extend gives a write the time that it has without progress.
func (c *Conn) extend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.patience > 0 {
		_ = c.socket.SetWriteDeadline(time.Now().Add(c.patience))
	}
}

func (c *Conn) isStopped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopped
}

// Stop ends a CopyTo. A CopyFrom goes on to its source's end, until the service
// has taken nothing for patience.
func (c *Conn) Stop(patience time.Duration) { c.halt(patience, patience) }

// StopBy ends a CopyTo, and after a time a CopyFrom. A Stop that comes later
// changes nothing.
func (c *Conn) StopBy(left time.Duration) { c.halt(left, 0) }

func (c *Conn) halt(left, patience time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped && c.patience == 0 {
		return
	}
	c.stopped, c.patience = true, patience
	_ = c.socket.SetReadDeadline(time.Unix(1, 0))
	_ = c.socket.SetWriteDeadline(time.Now().Add(left))
}

// Close ends the connection at once. If the service has not been told the end of what
// it gets, it is told over TCP that the connection was reset; a Unix socket cannot do
// that. Close is idempotent.
func (c *Conn) Close() {
	if tcp, ok := c.socket.(*net.TCPConn); ok && !c.ended.Load() {
		_ = tcp.SetLinger(0)
	}
	_ = c.socket.Close()
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
}
