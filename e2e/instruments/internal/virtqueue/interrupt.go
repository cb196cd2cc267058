//go:build linux

package virtqueue

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// longestBackoff bounds the time between two repeated interrupts.
const longestBackoff = 64 * time.Millisecond

// UnsignalledLocked returns how many buffers the device has given back since
// SignalLocked.
func (q *Queue) UnsignalledLocked() int { return q.unsignalled }

// SignalLocked interrupts the driver if there are buffers for it and the driver
// has asked for an interrupt.
func (q *Queue) SignalLocked() {
	if !q.running || !q.needSignalLocked() {
		return
	}
	q.interruptLocked()
	if q.rekick > 0 && q.eventIndex && !q.armed {
		q.backoff = q.rekick
		q.armLocked()
	}
}

func (q *Queue) needSignalLocked() bool {
	if q.unsignalled == 0 {
		return false
	}
	old := q.signalled
	q.signalled, q.unsignalled = q.nextUsed, 0
	fence()
	if q.eventIndex { // vring_need_event of virtio 1.2, section 2.7.7.2
		behind := q.nextUsed - *q.usedEventLocked() - 1
		return behind < q.nextUsed-old
	}
	return q.availFlagsLocked()&availNoInterrupt == 0
}

// interruptLocked writes to the call descriptor: User-Mode Linux has a pipe
// there, QEMU an eventfd, and both take 8 bytes. If it is full, an interrupt
// waits already.
func (q *Queue) interruptLocked() {
	if q.call < 0 {
		return
	}
	one := [8]byte{1}
	for {
		if _, err := unix.Write(q.call, one[:]); !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

func (q *Queue) armLocked() {
	q.armed = true
	time.AfterFunc(q.backoff, q.recheck) // ends when the driver answers or the queue stops
}

// recheck repeats an interrupt that the driver has not answered. User-Mode Linux
// 6.1 needs that: a signal that comes just before its idle loop sleeps is noted
// but does not end the sleep, which then lasts until the timer's next tick.
func (q *Queue) recheck() {
	q.Lock()
	defer q.Unlock()
	q.armed = false
	// A driver that has seen everything moves its event index to where it is.
	if !q.running || *q.usedEventLocked() == q.nextUsed {
		return
	}
	q.interruptLocked()
	q.backoff = min(2*q.backoff, longestBackoff)
	q.armLocked()
}
