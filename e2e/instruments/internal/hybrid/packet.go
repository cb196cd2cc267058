package hybrid

import (
	"encoding/binary"
	"fmt"
)

// The packets of virtio-vsock: virtio 1.2, section 5.10.6.
const (
	headerSize = 44
	hostCID    = 2

	typeStream = 1

	opRequest       = 1
	opResponse      = 2
	opReset         = 3
	opShutdown      = 4
	opData          = 5
	opCreditUpdate  = 6
	opCreditRequest = 7

	// Flags of opShutdown, as its sender sees it.
	shutReceive = 1 // the sender will receive no more
	shutSend    = 2 // the sender will send no more
	shutBoth    = shutReceive | shutSend

	eventTransportReset = 0
)

// A header is the head of a packet.
type header struct {
	srcCID, dstCID   uint64
	srcPort, dstPort uint32
	length           uint32 // of the data that follows, in bytes
	typ, op          uint16
	flags            uint32
	bufAlloc, fwdCnt uint32 // credit: virtio 1.2, section 5.10.6.3
}

func (h *header) encode() (b [headerSize]byte) {
	le := binary.LittleEndian
	le.PutUint64(b[0:], h.srcCID)
	le.PutUint64(b[8:], h.dstCID)
	le.PutUint32(b[16:], h.srcPort)
	le.PutUint32(b[20:], h.dstPort)
	le.PutUint32(b[24:], h.length)
	le.PutUint16(b[28:], h.typ)
	le.PutUint16(b[30:], h.op)
	le.PutUint32(b[32:], h.flags)
	le.PutUint32(b[36:], h.bufAlloc)
	le.PutUint32(b[40:], h.fwdCnt)
	return b
}

func (h *header) decode(b [headerSize]byte) {
	le := binary.LittleEndian
	h.srcCID = le.Uint64(b[0:])
	h.dstCID = le.Uint64(b[8:])
	h.srcPort = le.Uint32(b[16:])
	h.dstPort = le.Uint32(b[20:])
	h.length = le.Uint32(b[24:])
	h.typ = le.Uint16(b[28:])
	h.op = le.Uint16(b[30:])
	h.flags = le.Uint32(b[32:])
	h.bufAlloc = le.Uint32(b[36:])
	h.fwdCnt = le.Uint32(b[40:])
}

var opNames = [...]string{"INVALID", "REQUEST", "RESPONSE", "RST", "SHUTDOWN", "RW", "CREDIT_UPDATE", "CREDIT_REQUEST"}

func (h *header) String() string {
	op := fmt.Sprint(h.op)
	if int(h.op) < len(opNames) {
		op = opNames[h.op]
	}
	return fmt.Sprintf("%s %d:%d->%d:%d len=%d flags=%d buf=%d fwd=%d",
		op, h.srcCID, h.srcPort, h.dstCID, h.dstPort, h.length, h.flags, h.bufAlloc, h.fwdCnt)
}
