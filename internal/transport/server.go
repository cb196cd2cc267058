package transport

import (
	"fmt"
	"net"
	"os"
)

// checkServer returns an error if another user than t allows serves conn, a
// connection to t's Unix socket. It reads and sends nothing. Systems without a
// serverUID of their own are not checked.
//
// In a container with users of its own, the kernel reports each user that the
// container does not know as its overflow uid, 65534.
func checkServer(conn net.Conn, t Target) error {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return nil
	}
	uid, known, err := serverUID(u)
	if err != nil {
		return fmt.Errorf("find the user that serves %s: %w", t.Path, err)
	}
	own := os.Geteuid()
	switch {
	case !known:
		return nil
	case t.UID != 0:
		if uid != t.UID {
			return permanent(fmt.Errorf("uid %d serves %s, want uid %d: nothing was sent", uid, t.Path, t.UID))
		}
	case uid != 0 && int64(uid) != int64(own):
		return permanent(fmt.Errorf("uid %d serves %s, want root or the current user (uid %d): nothing was sent; if that user runs the agent, use %s",
			uid, t.Path, own, Target{Scheme: schemeUnix, Path: t.Path, UID: uid}))
	}
	return nil
}
