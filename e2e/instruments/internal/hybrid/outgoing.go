//go:build linux

package hybrid

import (
	"errors"
	"io"
	"time"
)

// read carries bytes from the socket to the guest.
func (c *conn) read() {
	buf := make([]byte, maxPiece)
	for {
		room, ok := c.awaitCredit()
		if !ok {
			return
		}
		n, err := c.socket.Read(buf[:min(room, len(buf))])
		if n > 0 && (!c.reserve(n) || !c.session.sendData(c, buf[:n])) {
			return
		}
		if err != nil {
			c.endOfClient(err)
			return
		}
	}
}

// awaitCredit waits until the guest has room, and returns how much. It returns
// false if the guest will take no more.
func (c *conn) awaitCredit() (room int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for asked := false; ; asked = true {
		if c.dead.Load() || c.guestNoReceive || c.guestReset {
			return 0, false
		}
		if room := int32(c.peerBuf - (c.sent - c.peerForwarded)); room > 0 {
			return int(room), true
		}
		if !asked {
			c.send(opCreditRequest, 0)
		}
		c.cond.Wait()
	}
}

// reserve uses n bytes of the guest's credit. It returns false if the guest will
// take no more.
func (c *conn) reserve(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent += uint32(n)
	return !c.guestNoReceive && !c.guestReset
}

// endOfClient tells the guest that the socket's peer sends no more, and whether it
// still takes something.
func (c *conn) endOfClient(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead.Load() || c.guestNoReceive || c.guestReset {
		return
	}
	c.hostNoSend = true
	flags := uint32(shutSend)
	switch {
	case c.session.Firecracker:
		// Every end of file is a full close there: what the guest still sends is
		// dropped, and the connection is reset after a while.
		c.hostNoReceive = true
		flags = shutBoth
		time.AfterFunc(firecrackerPatience, c.abort)
	case !errors.Is(err, io.EOF) || hungUp(c.socket):
		c.hostNoReceive = true
		flags = shutBoth
	default:
		watchHangup(c)
	}
	c.send(opShutdown, flags)
	c.cond.Broadcast()
}
