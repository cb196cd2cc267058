package transport

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
)

// A Peer is who is at the other end of an accepted connection, as the kernel says.
type Peer struct {
	Network  string // "vsock" or "unix"
	CID      uint32 // vsock
	Port     uint32 // vsock
	UID, PID int    // unix
	Listener string // unix: the path of the socket that it has connected to
}

// Class names those who are the same peer to an agent: whoever has a CID, or
// may connect to a Unix socket.
func (p Peer) Class() string {
	if p.Network == schemeVsock {
		return fmt.Sprintf("vsock://%d", p.CID)
	}
	return "unix://" + p.Listener
}

// String names the peer for logs.
func (p Peer) String() string {
	if p.Network == schemeVsock {
		return fmt.Sprintf("vsock://%d:%d", p.CID, p.Port)
	}
	return fmt.Sprintf("unix:uid=%d,pid=%d", p.UID, p.PID)
}

// ErrRefused is wrapped by the errors about peers who may not connect.
var ErrRefused = errors.New("peer is not allowed to connect")

// A Policy says who may connect to an agent. Its zero value is the rule in
// production: over vsock the host alone, over a Unix socket root and the
// agent's own user.
//
// A process in the guest can reach the agent over vsock loopback, as CID 1 or
// as the guest's own CID. If it were served it would be root.
type Policy struct {
	CIDs []uint32 // served besides [CIDHost]

	// Refused is told of the peers that a listener for vsock refuses, and why. It
	// must not block. nil: nobody is told.
	Refused func(Peer, error)
}

// Admit says who is at the other end of conn, and whether it may connect: if not, the
// error wraps [ErrRefused]. It reads nothing from conn.
func (p Policy) Admit(conn net.Conn) (Peer, error) {
	if u, ok := conn.(*net.UnixConn); ok {
		return admitUnix(u)
	}
	return p.admitAddr(conn.RemoteAddr())
}

func (p Policy) admitAddr(addr net.Addr) (Peer, error) {
	peer, ok := vsockPeer(addr)
	if !ok {
		return Peer{}, fmt.Errorf("%w: unknown network of %v", ErrRefused, addr)
	}
	if peer.CID != CIDHost && !slices.Contains(p.CIDs, peer.CID) {
		return peer, fmt.Errorf("%w: CID %d is not the host", ErrRefused, peer.CID)
	}
	return peer, nil
}

func admitUnix(conn *net.UnixConn) (Peer, error) {
	peer, err := unixPeer(conn)
	peer.Network, peer.Listener = schemeUnix, conn.LocalAddr().String()
	if err != nil {
		return peer, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if peer.UID != 0 && peer.UID != os.Geteuid() {
		return peer, fmt.Errorf("%w: uid %d is neither root nor the agent's uid", ErrRefused, peer.UID)
	}
	return peer, nil
}
