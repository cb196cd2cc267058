package mux

import (
	"encoding/binary"
	"errors"
	"net"
	"sync/atomic"
)

// yamux's frames. https://github.com/hashicorp/yamux/blob/master/spec.md
const (
	frameIsData   = 0
	frameIsUpdate = 1
	frameIsPing   = 2

	flagSYN = 1
	flagACK = 2
	flagFIN = 4
	flagRST = 8
)

// An intake follows the frames that a host sends, ahead of yamux, which has no
// limits of its own. yamux's reading goroutine alone calls scan.
type intake struct {
	ledger *ledger
	pings  atomic.Int32 // unanswered
	broken atomic.Pointer[error]

	header [frameHeader]byte
	have   int // bytes of the header
	body   int // bytes of a body that are still to come
}

// scan is given what has been read from the connection. It blocks while the
// ledger has no room for it, and fails where the host has broken a limit.
func (in *intake) scan(p []byte) error {
	for len(p) > 0 {
		if in.body > 0 {
			n := min(in.body, len(p))
			in.body -= n
			p = p[n:]
			continue
		}
		n := copy(in.header[in.have:], p)
		in.have += n
		p = p[n:]
		if in.have < frameHeader {
			return nil
		}
		in.have = 0
		if err := in.frame(); err != nil {
			reason := err // on the heap only here
			in.broken.Store(&reason)
			return err
		}
	}
	return nil
}

// failure returns why scan has failed, or nil.
func (in *intake) failure() error {
	if err := in.broken.Load(); err != nil && !errors.Is(*err, net.ErrClosed) {
		return *err
	}
	return nil
}

// frame takes note of a header.
func (in *intake) frame() error {
	kind, flags := in.header[frameType], binary.BigEndian.Uint16(in.header[frameFlags:])
	id, length := binary.BigEndian.Uint32(in.header[frameStream:]), int(binary.BigEndian.Uint32(in.header[frameLength:]))
	switch kind {
	case frameIsPing:
		if flags&flagSYN != 0 && in.pings.Add(1) > maxPings {
			return errPings
		}
	case frameIsData:
		in.body = length
		return in.ledger.frame(id, flags, length)
	case frameIsUpdate:
		return in.ledger.frame(id, flags, 0)
	}
	return nil
}

// sent takes note of a header that goes to the host.
func (in *intake) sent(header []byte) {
	if header[frameType] == frameIsPing && binary.BigEndian.Uint16(header[frameFlags:])&flagACK != 0 {
		in.pings.Add(-1)
	}
}

// frame takes note of a frame that is about stream id, with n bytes.
func (l *ledger) frame(id uint32, flags uint16, n int) error {
	l.quota.mu.Lock()
	defer l.quota.mu.Unlock()
	if flags&flagSYN != 0 {
		if err := l.open(id); err != nil {
			return err
		}
	}
	if n > 0 {
		if err := l.receive(id, n); err != nil {
			return err
		}
	}
	a := l.accounts[id]
	if a == nil {
		return nil
	}
	a.hostEnded = a.hostEnded || flags&(flagFIN|flagRST) != 0
	a.agentEnded = a.agentEnded || flags&flagRST != 0
	a.settle()
	return nil
}
