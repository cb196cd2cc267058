//go:build linux

package hybrid

import (
	"errors"
	"slices"

	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/virtqueue"
)

// A control is a packet without data that waits for a receive buffer. conn is nil for a
// reset that belongs to no connection.
type control struct {
	conn  *conn
	key   connKey
	op    uint16
	typ   uint16
	flags uint32
}

func (s *session) sendReset(k connKey) {
	s.sendControl(control{key: k, op: opReset, typ: typeStream})
}

// sendControl queues a packet without data. It does not block.
func (s *session) sendControl(p control) {
	q := s.queue[queueReceive]
	q.Lock()
	defer q.Unlock()
	if s.receiveClosed {
		return
	}
	s.control = append(s.control, p)
	s.flushControlLocked()
	q.SignalLocked()
}

// bufferLocked takes a receive buffer. If there is none, it asks for a kick and
// returns false.
func (s *session) bufferLocked() (virtqueue.Chain, bool) {
	q := s.queue[queueReceive]
	for q.RunningLocked() {
		chain, ok, err := q.PopLocked()
		if err == nil && ok && chain.Writable() < headerSize {
			err = errors.New("receive buffer has no room for a header")
		}
		if err != nil {
			s.failLocked(q, err)
			return chain, false
		}
		if ok {
			q.DisableNotifyLocked()
			return chain, true
		}
		q.EnableNotifyLocked()
		if q.EmptyLocked() {
			break
		}
	}
	return virtqueue.Chain{}, false
}

// flushControlLocked sends the queued packets as far as there are buffers.
func (s *session) flushControlLocked() {
	sent := 0
	for ; sent < len(s.control); sent++ {
		chain, ok := s.bufferLocked()
		if !ok {
			break
		}
		p := &s.control[sent]
		h := header{srcPort: p.key.host, dstPort: p.key.guest, typ: p.typ, op: p.op, flags: p.flags}
		s.writeLocked(chain, p.conn, &h, nil)
	}
	s.control = slices.Delete(s.control, 0, sent)
}

// writeLocked writes one packet into a receive buffer, and returns how much of
// data went along. It adds the credit, under the lock that orders the packets, so
// that the counts the guest sees never run backwards.
func (s *session) writeLocked(chain virtqueue.Chain, c *conn, h *header, data []byte) int {
	h.srcCID, h.dstCID = hostCID, uint64(s.CID)
	if c != nil {
		h.bufAlloc = s.BufAlloc
		h.fwdCnt = c.forwarded.Load()
		c.toldForwarded.Store(h.fwdCnt)
		c.creditQueued.Store(false)
	}
	n := chain.Write(data, headerSize)
	h.length = uint32(n)
	raw := h.encode()
	chain.Write(raw[:], 0)
	s.Debugf("host:  %v", h)
	s.queue[queueReceive].PushLocked(chain, headerSize+n)
	return n
}

// sendData sends p to the guest on c, and waits for receive buffers. The caller
// has reserved the credit. sendData returns false if the connection cannot go on.
func (s *session) sendData(c *conn, p []byte) bool {
	q := s.queue[queueReceive]
	q.Lock()
	defer q.Unlock()
	for len(p) > 0 {
		if s.receiveClosed || q.FailedLocked() || c.dead.Load() {
			return false
		}
		s.flushControlLocked()
		chain, ok := s.bufferLocked()
		if !ok {
			q.SignalLocked()
			if !q.FailedLocked() {
				s.receiveCond.Wait()
			}
			continue
		}
		h := header{srcPort: c.key.host, dstPort: c.key.guest, typ: typeStream, op: opData}
		n := s.writeLocked(chain, c, &h, p)
		if n == 0 {
			s.failLocked(q, errors.New("receive buffer has no room for data"))
			return false
		}
		p = p[n:]
		s.toGuest.Add(uint64(n))
	}
	q.SignalLocked()
	return true
}
