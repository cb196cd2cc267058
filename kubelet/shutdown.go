package kubelet

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ErrShutdown is what a call returns that [Pods.Shutdown] has ended or refused. kubectl
// prints it and exits with 1.
var ErrShutdown = errors.New("the pod's node is shutting down")

const (
	// endTime is how long the commands of a shutdown have to end: [killGrace] and the
	// way to the guest and back. A paused VM takes longer.
	endTime = killGrace + time.Second

	// lingerTime is how long a caller has to close the connection over which it has got
	// its answer.
	lingerTime = 3 * time.Second
)

// The calls are those under way.
type calls struct {
	quit context.Context // ends with shutdown
	shut context.CancelFunc

	mu      sync.Mutex // no work begins after shutdown
	work    sync.WaitGroup
	answers sync.WaitGroup // requests that Handler sees, or the connections that they have become
	conns   map[*answerConn]struct{}
}

func newCalls() *calls {
	c := &calls{conns: make(map[*answerConn]struct{})}
	c.quit, c.shut = context.WithCancel(context.Background())
	return c
}

// begin counts a call, until done, and returns a context that a shutdown ends too.
func (c *calls) begin(ctx context.Context) (of context.Context, done func(), err error) {
	if !c.count(&c.work) {
		return nil, nil, ErrShutdown
	}
	of, end := context.WithCancelCause(ctx)
	unlink := context.AfterFunc(c.quit, func() { end(ErrShutdown) })
	return of, func() {
		unlink()
		end(nil)
		c.work.Done()
	}, nil
}

// count counts in all, unless there was a shutdown.
func (c *calls) count(all *sync.WaitGroup) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.quit.Err() != nil {
		return false
	}
	all.Add(1)
	return true
}

// await returns what f does, or [ErrShutdown] if f takes too long at a shutdown. f then ends
// by itself, or with the pool.
func (c *calls) await(f func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- f() }() // see above
	select {
	case err := <-ended:
		return err
	case <-c.quit.Done():
	}
	late := time.NewTimer(endTime)
	defer late.Stop()
	select {
	case err := <-ended:
		return err
	case <-late.C:
		return ErrShutdown
	}
}

// Shutdown ends all calls and refuses new ones, with [ErrShutdown]: none of their callers
// takes what it has got for all. Commands are ended as if their callers had gone. It
// returns when the calls have, after 3 seconds at most, and, behind a [Pods.Handler], when the
// callers have their answers. If ctx ends first, it returns its error. Then end the
// server, the pool and the program. (kubectl exits with 0 under a program that ends with
// calls under way.) It may be called more than once.
func (p *Pods) Shutdown(ctx context.Context) error {
	c := p.calls
	c.mu.Lock()
	c.shut()
	c.mu.Unlock()
	return during(ctx, func() {
		c.work.Wait()
		c.closeConns(func(conn *answerConn) bool { return conn.forward })
		rest := time.AfterFunc(lingerTime+time.Second, func() {
			c.closeConns(func(*answerConn) bool { return true })
		})
		defer rest.Stop()
		c.answers.Wait()
	})
}

// closeConns closes connections: callers keep those of port-forwards, and over some nothing
// was ever asked for.
func (c *calls) closeConns(which func(*answerConn) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		if which(conn) {
			go conn.Close() // which takes the lock; answers tells of its end
		}
	}
}

// during runs f, and returns when it has, or ctx has ended, with its error.
func during(ctx context.Context, f func()) error {
	done := make(chan struct{})
	go func() { defer close(done); f() }() // ends with the calls
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Handler returns h, virtual-kubelet's routes, for a server. Callers over SPDY get their
// answers also if they go on sending: their connection is closed once they have closed
// it, or 3 seconds later. [Pods.Shutdown] waits for that, refuses further requests
// with status 503, and breaks off logs, so that they are not taken for whole.
func (p *Pods) Handler(h http.Handler) http.Handler {
	c := p.calls
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !c.count(&c.answers) {
			http.Error(w, ErrShutdown.Error(), http.StatusServiceUnavailable)
			return
		}
		a := &answerWriter{ResponseWriter: w, request: r, calls: c}
		defer func() {
			if !a.hijacked.Load() {
				c.answers.Done()
			}
		}()
		h.ServeHTTP(a, r)
		if c.quit.Err() != nil && strings.HasPrefix(r.URL.Path, "/containerLogs/") {
			panic(http.ErrAbortHandler)
		}
	})
}

// An answerWriter tells of a connection that is taken over.
type answerWriter struct {
	http.ResponseWriter
	request  *http.Request
	calls    *calls
	hijacked atomic.Bool
}

// Unwrap is for http.ResponseController.
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush is for those who ask for an http.Flusher.
func (w *answerWriter) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// Hijack is for those who ask for an http.Hijacker.
func (w *answerWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.hijacked.Store(true)
	return w.calls.take(nc, w.request), rw, nil
}

// take has a connection counted until it is closed, in its request's place: virtual-kubelet
// may wait for hours for what a caller never asks for.
func (c *calls) take(nc net.Conn, r *http.Request) *answerConn {
	forward := strings.HasPrefix(r.URL.Path, "/portForward/")
	conn := &answerConn{Conn: nc, calls: c, forward: forward, lingers: !forward && strings.HasPrefix(strings.ToUpper(r.Header.Get("Upgrade")), "SPDY/")}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns[conn] = struct{}{}
	if forward && c.quit.Err() != nil {
		go conn.Close() // likewise
	}
	return conn
}

// An answerConn is a connection over which an answer goes as the last of all.
type answerConn struct {
	net.Conn
	calls   *calls
	forward bool // a port-forward's
	lingers bool // its caller closes it when it has the answer

	once sync.Once
	err  error
}

// Close waits for a caller that ends by itself: if a connection is closed as something
// arrives, TCP resets it, and an answer may be lost.
func (c *answerConn) Close() error {
	c.once.Do(func() {
		if c.lingers {
			_ = c.SetReadDeadline(time.Now().Add(lingerTime))
			_, _ = io.Copy(io.Discard, c.Conn)
		}
		c.err = c.Conn.Close()
		c.calls.mu.Lock()
		delete(c.calls.conns, c)
		c.calls.mu.Unlock()
		c.calls.answers.Done()
	})
	return c.err
}
