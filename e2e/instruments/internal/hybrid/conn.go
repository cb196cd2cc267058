//go:build linux

package hybrid

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// firecrackerPatience is how long Firecracker keeps a connection that one side has closed.
const firecrackerPatience = 2 * time.Second

// A conn joins one Unix socket with one vsock connection of the guest's.
//
// Two goroutines carry it: read, from the socket to the guest, and write, from the
// guest to the socket. write ends the connection. Both begin when it is established.
type conn struct {
	session  *session
	key      connKey
	byClient bool // a client of the host has opened it, and not the guest

	forwarded     atomic.Uint32 // the guest's bytes that have left for the socket
	toldForwarded atomic.Uint32 // what the guest has been told of that
	creditQueued  atomic.Bool
	dead          atomic.Bool // dropped: nothing more goes either way

	mu   sync.Mutex
	cond *sync.Cond // for any change of what follows

	socket      *net.UnixConn // nil before the device has connected for the guest
	established bool
	answered    chan struct{} // closed when the guest has answered our request
	// From the guest.
	incoming       []byte // not yet written to the socket
	pending        uint32 // bytes that count against BufAlloc
	guestNoSend    bool   // SHUTDOWN with SEND
	guestNoReceive bool   // SHUTDOWN with RECEIVE
	guestReset     bool   // RST: nothing more comes, and nothing may be sent
	// To the guest.
	peerBuf, peerForwarded, sent uint32 // its credit, and what has been used of it
	hostNoSend                   bool   // the socket's peer will send no more
	hostNoReceive                bool   // the socket's peer will take no more
}

// newConn returns the connection of a client, or of the guest if client is nil.
func newConn(s *session, key connKey, client *net.UnixConn) *conn {
	c := &conn{session: s, key: key, byClient: client != nil, socket: client, answered: make(chan struct{})}
	c.cond = sync.NewCond(&c.mu)
	return c
}

// acceptGuest answers a connection request of the guest's: the device connects to
// the Unix socket "<uds>_<port>".
func (s *session) acceptGuest(h *header) {
	c := newConn(s, connKey{host: h.dstPort, guest: h.srcPort}, nil)
	c.peerBuf, c.peerForwarded = h.bufAlloc, h.fwdCnt
	if s.registerGuest(c) {
		go c.connectHost() // bounded by dialUnix
	}
}

func (c *conn) connectHost() {
	socket, err := dialUnix(unixPath(c.session.UDS, c.key.host))
	if err != nil {
		c.session.Debugf("guest wants port %d: %v", c.key.host, err)
		c.session.unregister(c)
		if !c.dead.Load() {
			c.session.sendReset(c.key)
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead.Load() {
		_ = socket.Close()
		return
	}
	c.socket = socket
	c.send(opResponse, 0) // goes first: read and write begin after it
	c.startLocked()
}

func (c *conn) startLocked() {
	c.established = true
	go c.read()  // ends with the socket or the guest's interest
	go c.write() // ends when the guest is done, or by killLocked
}

// giveUp ends a client's connection that the guest has not answered in time.
func (c *conn) giveUp() {
	c.mu.Lock()
	late := !c.established && !c.dead.Load()
	if late {
		c.killLocked()
	}
	c.mu.Unlock()
	if late {
		c.session.Debugf("guest did not answer for port %d", c.key.guest)
		c.session.unregister(c)
		c.session.sendReset(c.key)
	}
}

func (c *conn) send(op uint16, flags uint32) {
	c.session.sendControl(control{conn: c, key: c.key, op: op, typ: typeStream, flags: flags})
}

// kill drops the connection without a word to the guest. Bytes that were not yet
// written to the socket are lost.
func (c *conn) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.killLocked()
}

func (c *conn) killLocked() {
	c.dead.Store(true)
	c.answerLocked()
	if c.socket != nil {
		_ = c.socket.Close()
	}
	c.cond.Broadcast()
}

// answerLocked marks our connection request as answered.
func (c *conn) answerLocked() {
	select {
	case <-c.answered:
	default:
		close(c.answered)
	}
}

// abort resets the connection on both sides.
func (c *conn) abort() {
	if c.dead.Load() {
		return
	}
	c.session.unregister(c)
	c.kill()
	c.session.sendReset(c.key)
}

// peerReset notes that the guest's side has gone. Bytes that the guest has sent before
// still go to the socket.
func (c *conn) peerReset() {
	c.session.unregister(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.guestReset = true
	if !c.established || c.session.Firecracker {
		c.killLocked() // the request was refused, or Firecracker's way: at once
		return
	}
	c.answerLocked()
	_ = c.socket.CloseRead() // wakes read
	c.cond.Broadcast()
}

// hostHangup is called when a client that had closed its sending side only
// closes the rest.
func (c *conn) hostHangup() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hostNoReceive || c.dead.Load() || c.guestReset {
		return
	}
	c.hostNoReceive = true
	c.send(opShutdown, shutBoth)
	c.cond.Broadcast()
}

// hungUp reports whether the socket's peer has closed both directions, and not
// only its sending side.
func hungUp(socket *net.UnixConn) bool {
	raw, err := socket.SyscallConn()
	if err != nil {
		return true
	}
	up := true
	err = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(p, 0)
		up = err == nil && n > 0 && p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	})
	return err != nil || up
}
