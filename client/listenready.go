package client

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

// A ReadyListener hears when the agent of a VM is ready: after the VM has booted, and again after
// it was restored. [ListenReady] makes it, and the caller closes it. It is safe for concurrent
// use, apart from Wait.
type ReadyListener struct {
	target string
	ln     net.Listener
	hints  chan struct{} // has a token when the agent may be ready

	done chan struct{} // closed by Close

	mu     sync.Mutex
	held   net.Conn // of the last announcement; nil: none
	closed bool
	wg     sync.WaitGroup
}

// ListenReady listens for the announcements of the agent that target names ("serve --announce").
//
//	hvsock:///PATH     the Unix socket PATH_PORT, as Firecracker and Cloud Hypervisor map the
//	                   guest's connections to vsock://2:PORT. The VMM's user must be able to open it
//	vsock://CID        the host's vsock port PORT, for this CID alone. Each VM needs a port of its own
//	unix:///PATH       the Unix socket PATH_PORT
//
// Begin to listen before the VM starts; an agent that finds nobody tries again, at least
// every 30 seconds. The sockets exist on Linux hosts only.
func ListenReady(target string, port uint32) (*ReadyListener, error) {
	t, err := ParseTarget(target)
	if err != nil {
		return nil, err
	}
	a := transport.Address{Scheme: "unix", Path: fmt.Sprintf("%s_%d", t.Path, port)}
	if t.Scheme == "vsock" {
		a = transport.Address{Scheme: "vsock", Port: port}
	}
	ln, err := transport.Listen(a, transport.Policy{CIDs: []uint32{t.CID}})
	if err != nil {
		return nil, err
	}
	l := &ReadyListener{target: t.String(), ln: ln, hints: make(chan struct{}, 1), done: make(chan struct{})}
	l.hint()          // it may be ready already
	l.wg.Go(l.accept) // stopped by Close, which waits for it
	return l, nil
}

// Wait returns when the agent is ready: it has announced itself, or was ready when ListenReady
// was called, and has greeted over a connection of its own. A program in the guest that only
// claims to be ready is not believed. The next Wait is for the next announcement. The error is
// ctx's, or net.ErrClosed after Close.
func (l *ReadyListener) Wait(ctx context.Context) (Hello, error) {
	for {
		select {
		case <-ctx.Done():
			return Hello{}, ctx.Err()
		case _, open := <-l.hints:
			if !open {
				return Hello{}, net.ErrClosed
			}
		}
		if h, err := l.hello(ctx); err == nil {
			return h, nil
		}
	}
}

// hello asks the agent who it is.
func (l *ReadyListener) hello(ctx context.Context) (Hello, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	c, err := Dial(ctx, l.target)
	if err != nil {
		return Hello{}, err
	}
	defer c.Close()
	return c.Hello(ctx)
}

// Close stops listening. It is idempotent.
func (l *ReadyListener) Close() error {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	held := l.held
	l.held = nil
	l.mu.Unlock()
	if !first {
		return nil
	}
	if held != nil {
		_ = held.Close()
	}
	close(l.done)
	err := l.ln.Close()
	l.wg.Wait()
	close(l.hints)
	return err
}

func (l *ReadyListener) hint() {
	select {
	case l.hints <- struct{}{}:
	default:
	}
}

// acceptReadyPause is how long one announcement keeps the next one waiting: a guest may make as
// many connections as it likes.
const acceptReadyPause = 50 * time.Millisecond

// accept hears one announcement after the other.
func (l *ReadyListener) accept() {
	for {
		conn, err := l.ln.Accept()
		if err != nil {
			return
		}
		if announces(conn) && l.hold(conn) {
			l.hint()
		} else {
			_ = conn.Close()
		}
		select {
		case <-time.After(acceptReadyPause):
		case <-l.done:
			return
		}
	}
}

// The guest has announceTime for its announcement, of at most maxAnnouncement bytes.
const (
	announceTime    = time.Second
	maxAnnouncement = 1024
)

// announces reports whether a connection brings a line. Its text does not matter: the agent
// itself is asked.
func announces(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(announceTime))
	_, err := bufio.NewReaderSize(io.LimitReader(conn, maxAnnouncement), maxAnnouncement).ReadSlice('\n')
	return err == nil
}

// hold keeps a connection open until the next announcement: its end tells the agent to announce
// itself again.
func (l *ReadyListener) hold(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if l.held != nil {
		_ = l.held.Close()
	}
	l.held = conn
	return true
}
