//go:build linux || windows

package transport

import (
	"net"

	"github.com/mdlayher/vsock"
)

// admitVsock is Admit for a listener.
func (p Policy) admitVsock(addr net.Addr) bool {
	peer, err := p.admitAddr(addr)
	if err != nil && p.Refused != nil {
		p.Refused(peer, err)
	}
	return err == nil
}

func vsockPeer(addr net.Addr) (Peer, bool) {
	a, ok := addr.(*vsock.Addr)
	if !ok {
		return Peer{}, false
	}
	return Peer{Network: schemeVsock, CID: a.ContextID, Port: a.Port}, true
}
