package transport_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/mdlayher/vsock"

	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

// fromConn is a connection from addr. Anything else that is asked of it panics.
type fromConn struct {
	net.Conn
	addr net.Addr
}

func (c fromConn) RemoteAddr() net.Addr { return c.addr }

func TestPolicyOverVsock(t *testing.T) {
	const own = 3 // the guest's
	for _, test := range []struct {
		name   string
		policy transport.Policy
		cid    uint32
		served bool
	}{
		{"the host", transport.Policy{}, transport.CIDHost, true},
		{"the hypervisor", transport.Policy{}, 0, false},
		{"loopback", transport.Policy{}, transport.CIDLocal, false},
		{"the guest's own CID", transport.Policy{}, own, false},
		{"any", transport.Policy{}, transport.CIDAny, false},
		{"loopback, listed", transport.Policy{CIDs: []uint32{transport.CIDLocal}}, transport.CIDLocal, true},
		{"another, listed", transport.Policy{CIDs: []uint32{transport.CIDLocal, own}}, own, true},
		{"loopback, another listed", transport.Policy{CIDs: []uint32{own}}, transport.CIDLocal, false},
		{"the host, another listed", transport.Policy{CIDs: []uint32{own}}, transport.CIDHost, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			peer, err := test.policy.Admit(fromConn{addr: &vsock.Addr{ContextID: test.cid, Port: 70000}})
			if want := (transport.Peer{Network: "vsock", CID: test.cid, Port: 70000}); peer != want {
				t.Errorf("peer %+v, want %+v", peer, want)
			}
			if served := err == nil; served != test.served || !served && !errors.Is(err, transport.ErrRefused) {
				t.Errorf("CID %d: %v, want served: %t", test.cid, err, test.served)
			}
		})
	}
}

func TestPolicySaysWhomItRefuses(t *testing.T) {
	peer, err := transport.Policy{}.Admit(fromConn{addr: &vsock.Addr{ContextID: 1, Port: 5}})
	if err == nil || err.Error() != "peer is not allowed to connect: CID 1 is not the host" {
		t.Error(err)
	}
	if got := peer.String(); got != "vsock://1:5" {
		t.Errorf("the peer is %s", got)
	}
}

// A peer that cannot be identified is not served, under any policy.
func TestPolicyRefusesOtherNetworks(t *testing.T) {
	allowed := transport.Policy{CIDs: []uint32{0, 1, 2, 3}}
	for _, addr := range []net.Addr{
		&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2},
		&net.UnixAddr{Name: "vsock", Net: "unix"}, // not a *net.UnixConn, so without a uid
		nil,
		(*net.TCPAddr)(nil),
	} {
		peer, err := allowed.Admit(fromConn{addr: addr})
		if !errors.Is(err, transport.ErrRefused) || (peer != transport.Peer{}) {
			t.Errorf("Admit(%v) = %+v, %v, want no peer, %v", addr, peer, err, transport.ErrRefused)
		}
	}
}

func TestPolicyServesItsOwnUserOverUnix(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	_, agent := connect(t, listen(t, path))
	peer, err := transport.Policy{}.Admit(agent)
	if want := (transport.Peer{Network: "unix", UID: os.Geteuid(), PID: os.Getpid(), Listener: path}); peer != want || err != nil {
		t.Errorf("%+v, %v; want %+v", peer, err, want)
	}
}

func TestPolicyRefusesUnknownUnixPeers(t *testing.T) {
	_, agent := connect(t, listen(t, filepath.Join(socketDir(t), "s")))
	_ = agent.Close()
	peer, err := transport.Policy{}.Admit(agent)
	if !errors.Is(err, transport.ErrRefused) || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Admit of a closed connection = %+v, %v, want %v", peer, err, transport.ErrRefused)
	}
}
