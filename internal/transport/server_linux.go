package transport

import "net"

// serverUID returns the user that has called listen on conn's other end.
func serverUID(conn *net.UnixConn) (uid uint32, known bool, err error) {
	peer, err := unixPeer(conn)
	return uint32(peer.UID), err == nil, err
}
