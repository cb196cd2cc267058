//go:build linux

package hybrid

import (
	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/virtqueue"
)

// signalEvery is after how many packets the driver gets its buffers back while
// there are more.
const signalEvery = 32

// drainTransmit takes all packets from the transmit queue.
func (s *session) drainTransmit() {
	q := s.queue[queueTransmit]
	q.Lock()
	defer q.Unlock()
	for q.RunningLocked() {
		q.DisableNotifyLocked()
		if !s.transmitLocked(q) {
			return
		}
		q.SignalLocked()
		q.EnableNotifyLocked()
		if q.EmptyLocked() {
			return
		}
	}
}

// transmitLocked takes packets until there is none. It returns false if the queue
// has failed.
func (s *session) transmitLocked(q *virtqueue.Queue) bool {
	for {
		chain, ok, err := q.PopLocked()
		if err != nil {
			s.failLocked(q, err)
			return false
		}
		if !ok {
			return true
		}
		s.handlePacket(chain)
		q.PushLocked(chain, 0)
		if q.UnsignalledLocked() >= signalEvery {
			q.SignalLocked()
		}
	}
}

// handlePacket handles one packet of the guest's. It does not block.
func (s *session) handlePacket(chain virtqueue.Chain) {
	var raw [headerSize]byte
	if chain.Read(raw[:], 0) < headerSize {
		s.Logf("short packet from the guest")
		return
	}
	var h header
	h.decode(raw)
	s.Debugf("guest: %v", &h)
	if h.srcCID != uint64(s.CID) || h.dstCID != hostCID {
		s.Logf("dropped a packet with foreign addresses: %v", &h)
		return
	}
	key := connKey{host: h.dstPort, guest: h.srcPort}
	if h.typ != typeStream {
		if h.op != opReset {
			s.sendControl(control{key: key, op: opReset, typ: h.typ})
		}
		return
	}
	if n := chain.Readable() - headerSize; int64(h.length) > int64(n) {
		s.Logf("packet says %d bytes but has %d: %v", h.length, n, &h)
		h.length = uint32(n)
	}
	switch c := s.find(key); {
	case c != nil:
		c.handlePacket(&h, chain)
	case h.op == opRequest:
		s.acceptGuest(&h)
	case h.op != opReset:
		s.sendReset(key)
	}
}
