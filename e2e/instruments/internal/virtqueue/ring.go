//go:build linux

package virtqueue

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"unsafe"
)

const (
	availNoInterrupt = 1 // VIRTQ_AVAIL_F_NO_INTERRUPT
	usedNoNotify     = 1 // VIRTQ_USED_F_NO_NOTIFY
)

// A ring's 16-bit index stands behind 16 bits of flags, so one 32-bit access
// covers both. The device only reads the available ring's, and only writes the
// used ring's.
func (q *Queue) availWordLocked() uint32 {
	return atomic.LoadUint32((*uint32)(unsafe.Pointer(&q.avail[0])))
}

func (q *Queue) availIndexLocked() uint16 { return uint16(q.availWordLocked() >> 16) }
func (q *Queue) availFlagsLocked() uint16 { return uint16(q.availWordLocked()) }

func (q *Queue) storeUsedWordLocked() {
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&q.used[0])), uint32(q.usedFlags)|uint32(q.nextUsed)<<16)
}

// The two event fields are behind the rings, and the other side uses them while
// this one does: one access of 16 bits, since two of 8 could be torn.
func (q *Queue) usedEventLocked() *uint16  { return (*uint16)(unsafe.Pointer(&q.avail[4+2*q.size])) }
func (q *Queue) availEventLocked() *uint16 { return (*uint16)(unsafe.Pointer(&q.used[4+8*q.size])) }

var fenceWord atomic.Uint32

// fence keeps loads that follow it from passing stores that precede it: by XCHG
// on amd64, by STLR and then LDAR on arm64.
func fence() {
	fenceWord.Store(0)
	fenceWord.Load()
}

// EnableNotifyLocked asks the driver for a kick with its next buffer. The caller
// must look at the ring once more afterwards: a buffer may have come before.
func (q *Queue) EnableNotifyLocked() {
	if !q.running {
		return
	}
	if q.eventIndex {
		*q.availEventLocked() = q.nextAvail
	} else {
		q.usedFlags &^= usedNoNotify
		q.storeUsedWordLocked()
	}
	fence()
}

// DisableNotifyLocked tells the driver that the device does not need kicks.
func (q *Queue) DisableNotifyLocked() {
	if q.running && !q.eventIndex && q.usedFlags&usedNoNotify == 0 {
		q.usedFlags |= usedNoNotify
		q.storeUsedWordLocked()
	}
}

// EmptyLocked reports whether the driver has made no further buffer available.
func (q *Queue) EmptyLocked() bool { return !q.running || q.availIndexLocked() == q.nextAvail }

// HeldLocked returns how many buffers of the driver's the device has, if it has
// given back all that it has popped.
func (q *Queue) HeldLocked() uint16 {
	if !q.running {
		return 0
	}
	return q.availIndexLocked() - q.nextUsed
}

// PopLocked takes the next available buffer, and reports whether there was one.
// The chain is valid until the next call.
func (q *Queue) PopLocked() (c Chain, ok bool, err error) {
	if !q.running {
		return Chain{}, false, nil
	}
	index := q.availIndexLocked()
	if index == q.nextAvail {
		return Chain{}, false, nil
	}
	if uint32(index-q.nextAvail) > q.size {
		return Chain{}, false, fmt.Errorf("%w: queue %d: available index %d after %d", ErrRing, q.index, index, q.nextAvail)
	}
	slot := uint32(q.nextAvail) & (q.size - 1)
	head := binary.LittleEndian.Uint16(q.avail[4+2*slot:])
	c, err = q.walkLocked(head)
	if err != nil {
		return Chain{}, false, fmt.Errorf("%w: queue %d: %w", ErrRing, q.index, err)
	}
	q.nextAvail++
	return c, true, nil
}

// PushLocked gives a buffer back, with n bytes written into it.
func (q *Queue) PushLocked(c Chain, n int) {
	if !q.running {
		return
	}
	slot := 4 + 8*(uint32(q.nextUsed)&(q.size-1))
	binary.LittleEndian.PutUint32(q.used[slot:], uint32(c.head))
	binary.LittleEndian.PutUint32(q.used[slot+4:], uint32(n))
	q.nextUsed++
	q.unsignalled++
	q.storeUsedWordLocked()
}
