//go:build linux

package hybrid

import (
	"strconv"
	"time"

	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/virtqueue"
)

// maxPiece is the most that goes through a socket in one call, in bytes.
const maxPiece = 64 << 10

// handlePacket handles a packet for this connection. It does not block.
func (c *conn) handlePacket(h *header, chain virtqueue.Chain) {
	if h.op == opReset {
		c.peerReset()
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.cond.Broadcast()
	c.peerBuf, c.peerForwarded = h.bufAlloc, h.fwdCnt
	if c.carryOutLocked(h, chain) {
		return
	}
	c.session.Debugf("unexpected: %v", h)
	c.session.unregister(c)
	c.killLocked()
	c.session.sendReset(c.key)
}

// carryOutLocked returns false for a packet that cannot be right here.
func (c *conn) carryOutLocked(h *header, chain virtqueue.Chain) bool {
	switch h.op {
	case opResponse:
		if !c.byClient || c.established {
			return false
		}
		c.answerLocked()
		c.startLocked()
		return true
	case opData:
		return c.dataLocked(h, chain)
	case opShutdown:
		return c.shutdownLocked(h.flags)
	case opCreditUpdate:
		return true
	case opCreditRequest:
		c.queueCredit()
		return true
	}
	return false
}

func (c *conn) dataLocked(h *header, chain virtqueue.Chain) bool {
	if !c.established || c.guestNoSend {
		return false
	}
	if c.session.Firecracker && c.hostNoSend {
		return true // dropped, as in Firecracker's state LocalClosed
	}
	if h.length > c.session.BufAlloc-c.pending {
		c.session.Logf("guest overran its credit: %v", h)
		return false
	}
	c.session.fromGuest.Add(uint64(h.length))
	if c.hostNoReceive {
		c.forwarded.Add(h.length)
		c.offerCreditLocked()
		return true
	}
	had := len(c.incoming)
	c.incoming = append(c.incoming, make([]byte, h.length)...)
	chain.Read(c.incoming[had:], headerSize)
	c.pending += h.length
	return true
}

func (c *conn) shutdownLocked(flags uint32) bool {
	if !c.established {
		return false
	}
	if flags&shutSend != 0 {
		c.guestNoSend = true
	}
	if flags&shutReceive != 0 && !c.guestNoReceive {
		c.guestNoReceive = true
		_ = c.socket.CloseRead() // wakes read, and fails the client's writes
	}
	if c.session.Firecracker && c.guestNoSend && c.guestNoReceive && c.pending > 0 {
		time.AfterFunc(firecrackerPatience, c.abort) // what has not been written by then is lost
	}
	return true
}

// offerCreditLocked tells the guest of freed room when a quarter of what it can
// have on the way is free. Its own buffer may be smaller than the device's.
func (c *conn) offerCreditLocked() {
	due := max(1, min(c.session.BufAlloc/4, c.peerBuf/4, maxPiece))
	if c.forwarded.Load()-c.toldForwarded.Load() >= due {
		c.queueCredit()
	}
}

func (c *conn) queueCredit() {
	if c.creditQueued.CompareAndSwap(false, true) {
		c.send(opCreditUpdate, 0)
	}
}

// write carries bytes from the guest to the socket, and ends the connection.
func (c *conn) write() {
	defer func() {
		c.session.unregister(c)
		c.kill()
	}()
	if c.byClient && !c.writeOK() {
		c.session.sendReset(c.key)
		return
	}
	var work []byte
	for {
		work = c.awaitIncoming(work)
		if c.dead.Load() {
			return
		}
		if len(work) == 0 {
			break
		}
		for rest := work; len(rest) > 0; {
			n := min(len(rest), maxPiece)
			c.deliver(rest[:n])
			rest = rest[n:]
		}
	}
	c.awaitGuestEnd()
}

// writeOK ends the handshake with the client.
func (c *conn) writeOK() bool {
	ok := append(strconv.AppendUint([]byte("OK "), uint64(c.key.host), 10), '\n')
	_, err := c.socket.Write(ok)
	return err == nil
}

// awaitIncoming returns what the guest has sent, and nothing if it will send no
// more. The memory of done is used again.
func (c *conn) awaitIncoming(done []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.incoming) == 0 && !c.guestNoSend && !c.guestReset && !c.dead.Load() {
		c.cond.Wait()
	}
	work := c.incoming
	c.incoming = done[:0]
	return work
}

// deliver writes p to the socket, and gives the guest credit for it.
func (c *conn) deliver(p []byte) {
	n, err := c.socket.Write(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending -= uint32(len(p))
	c.forwarded.Add(uint32(len(p)))
	if err != nil && n < len(p) && !c.hostNoReceive && !c.dead.Load() {
		// The client takes no more. The rest is thrown away.
		c.session.Debugf("write to the client of %v: %v", c.key, err)
		c.hostNoReceive = true
		if !c.guestReset {
			flags := uint32(shutReceive)
			if c.hostNoSend {
				flags = shutBoth
			}
			c.send(opShutdown, flags)
		}
	}
	if !c.guestNoSend && !c.guestReset && !c.dead.Load() {
		c.offerCreditLocked()
	}
}

// awaitGuestEnd passes the guest's end of sending on, waits until the guest will
// take no more either, and resets its side if it has not done so itself.
func (c *conn) awaitGuestEnd() {
	c.mu.Lock()
	if !c.guestReset && !c.guestNoReceive && !c.session.Firecracker {
		_ = c.socket.CloseWrite()
	}
	for !c.guestReset && !c.guestNoReceive && !c.dead.Load() {
		c.cond.Wait()
	}
	reset := !c.guestReset && !c.dead.Load()
	c.mu.Unlock()
	if reset {
		c.session.unregister(c)
		c.session.sendReset(c.key)
	}
}
