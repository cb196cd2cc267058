//go:build linux

// Package hybrid is a virtio-vsock device whose host side is a Unix socket, in the form
// that Firecracker and Cloud Hypervisor give it. A client writes "CONNECT <port>\n",
// reads "OK <hostport>\n", and then talks to the guest. A guest that connects to port P
// of CID 2 reaches the Unix socket "<uds>_P".
//
// The device is a back end of vhost-user, so the guest can be User-Mode Linux or
// QEMU. It never uses AF_VSOCK of the machine that it runs on.
package hybrid

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A Config says how a device behaves. Every field but Firecracker and Rekick
// must be set.
type Config struct {
	UDS            string        // path of the host's Unix socket
	CID            uint32        // the guest's
	BufAlloc       uint32        // receive buffer of each connection, told to the guest, in bytes
	ConnectTimeout time.Duration // how long the guest may take to answer CONNECT
	Rekick         time.Duration // time after which an interrupt is repeated; 0: never
	Firecracker    bool          // close as Firecracker does: no half-close; unsent bytes are dropped

	Logf   func(format string, args ...any) // what an operator should know
	Debugf func(format string, args ...any) // every packet and request
}

// A Muxer connects clients on the host with the guest of the moment.
type Muxer struct {
	config *Config

	mu      sync.Mutex
	current *session      // nil: no guest
	changed chan struct{} // closed when current changes
}

// NewMuxer returns a Muxer without a guest.
func NewMuxer(config Config) *Muxer {
	return &Muxer{config: &config, changed: make(chan struct{})}
}

// ServeGuests serves the vhost-user front ends that connect to l, one after the
// other. It returns when l is closed.
func (m *Muxer) ServeGuests(l *net.UnixListener) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		m.serveGuest(c)
	}
}

func (m *Muxer) serveGuest(c *net.UnixConn) {
	defer c.Close()
	m.config.Logf("guest connected")
	s := newSession(m.config)
	m.setCurrent(s)
	err := s.run(c)
	m.setCurrent(nil)
	if err != nil {
		m.config.Logf("guest: %v", err)
	}
	m.config.Logf("guest gone: %s", s.summary())
}

func (m *Muxer) setCurrent(s *session) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.current = s
	close(m.changed)
	m.changed = make(chan struct{})
}

// ServeClients serves the clients that connect to l. It returns when l is closed.
func (m *Muxer) ServeClients(l *net.UnixListener) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		go m.serveClient(c) // ends with the handshake, which is bounded, or when the client closes
	}
}

// Reset drops every connection and tells the guest so, as after a restore from a
// snapshot. It blocks until the guest has taken the event, at most 2 s.
func (m *Muxer) Reset() {
	if s := m.guest(); s != nil {
		s.transportReset()
		return
	}
	m.config.Logf("transport reset: no guest")
}

// Summary returns the counters of the guest of the moment, as text.
func (m *Muxer) Summary() string {
	if s := m.guest(); s != nil {
		return s.summary()
	}
	return "no guest"
}

func (m *Muxer) guest() *session {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.current
}

// awaitGuest returns the session of a guest whose driver is up, or nil when ctx ends.
func (m *Muxer) awaitGuest(ctx context.Context) *session {
	for {
		m.mu.Lock()
		s, changed := m.current, m.changed
		m.mu.Unlock()
		var ready chan struct{}
		if s != nil {
			ready = s.ready
		}
		select {
		case <-ready:
			return s
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// serveClient does the handshake with a client on the host.
func (m *Muxer) serveClient(client *net.UnixConn) {
	port, err := readConnect(client)
	if err != nil {
		m.config.Debugf("client: %v", err)
		_ = client.Close()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.config.ConnectTimeout)
	defer cancel()
	s := m.awaitGuest(ctx)
	if s == nil {
		m.config.Debugf("no guest for a client that wants port %d", port)
		_ = client.Close()
		return
	}
	c := newConn(s, connKey{guest: port}, client)
	if !s.registerClient(c) {
		_ = client.Close()
		return
	}
	c.send(opRequest, 0)
	select {
	case <-c.answered:
	case <-ctx.Done():
		c.giveUp()
	}
}

// longestConnect bounds the client's first line, which is at most "CONNECT 4294967295\r\n".
const longestConnect = 32

// readConnect reads "CONNECT <port>\n" and not one byte more.
func readConnect(c net.Conn) (port uint32, err error) {
	var line []byte
	for b := make([]byte, 1); len(line) < longestConnect; {
		if _, err := c.Read(b); err != nil {
			return 0, fmt.Errorf("read CONNECT: %w", err)
		}
		if line = append(line, b[0]); b[0] == '\n' {
			return parseConnect(string(line))
		}
	}
	return 0, fmt.Errorf("read CONNECT: %q has no end", line)
}

func parseConnect(line string) (port uint32, err error) {
	words := strings.Fields(line)
	if len(words) < 2 || !strings.EqualFold(words[0], "connect") {
		return 0, fmt.Errorf("read CONNECT: got %q", line)
	}
	p, err := strconv.ParseUint(words[1], 10, 32)
	if err != nil {
		return 0, fmt.Errorf("read CONNECT: %w", err)
	}
	return uint32(p), nil
}
