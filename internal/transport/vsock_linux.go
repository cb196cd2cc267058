package transport

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"
)

func dialVsock(ctx context.Context, cid, port uint32) (net.Conn, error) {
	return vsock.DialContext(ctx, cid, port, nil)
}

func listenVsock(port uint32) (net.Listener, error) {
	ln, err := vsock.ListenContextID(CIDAny, port, nil)
	for _, errno := range []error{unix.EAFNOSUPPORT, unix.ENODEV, unix.EADDRNOTAVAIL} {
		if errors.Is(err, errno) {
			return nil, fmt.Errorf("%w: %w", ErrNoDevice, err)
		}
	}
	if err != nil {
		return nil, err
	}
	return ln, nil
}

func vsockPeer(addr net.Addr) (Peer, bool) {
	a, ok := addr.(*vsock.Addr)
	if !ok {
		return Peer{}, false
	}
	return Peer{Network: schemeVsock, CID: a.ContextID, Port: a.Port}, true
}
