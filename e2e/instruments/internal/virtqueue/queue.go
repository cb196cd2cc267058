//go:build linux

// Package virtqueue is the device's side of split virtqueues (virtio 1.2,
// section 2.7), in memory that a vhost-user front end shares.
//
// The guest writes that memory, and its contents are not trusted. A descriptor that
// points outside the guest's memory, a chain that loops, and a ring index that jumps
// are errors (ErrRing), after which the caller stops the queue.
package virtqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MaxSize is the largest size of a queue (virtio 1.2, section 2.7).
const MaxSize = 32768

// ErrRing means that the driver has written what no correct driver writes.
var ErrRing = errors.New("broken ring")

// A Queue is one virtqueue. Its caller holds the lock around every method whose
// name ends in Locked.
//
// A queue runs from the moment that it has a size, addresses, a kick and the
// front end's permission, until StopLocked. FailLocked stops it for good.
type Queue struct {
	mu    sync.Mutex
	index int

	// Set by the front end.
	size                    uint32
	base                    uint16
	addrs                   *Addresses
	kicked, enabled, failed bool
	call                    int // descriptor, or -1
	kick                    *os.File

	// Valid only while the queue runs.
	running           bool
	mem               *Memory
	desc, avail, used []byte
	eventIndex        bool
	nextAvail         uint16 // the next entry of the available ring
	nextUsed          uint16 // the next entry of the used ring
	usedFlags         uint16
	signalled         uint16 // nextUsed when needSignalLocked was last asked
	unsignalled       int    // buffers given back since then

	rekick  time.Duration
	armed   bool
	backoff time.Duration

	segments [][]byte // of the last chain
}

// Addresses are where the parts of a queue lie, in the front end's memory.
type Addresses struct{ Desc, Used, Avail uint64 }

// New returns the queue with this index. If rekick is not 0, the queue repeats
// an interrupt that the driver has not answered for so long.
func New(index int, rekick time.Duration) *Queue {
	return &Queue{index: index, rekick: rekick, call: -1}
}

// Lock locks the queue.
func (q *Queue) Lock() { q.mu.Lock() }

// Unlock unlocks the queue.
func (q *Queue) Unlock() { q.mu.Unlock() }

// Index returns the queue's number in its device.
func (q *Queue) Index() int { return q.index }

// SetSizeLocked sets the number of descriptors. A running queue keeps its size.
func (q *Queue) SetSizeLocked(size uint32) error {
	if size == 0 || size > MaxSize || size&(size-1) != 0 {
		return fmt.Errorf("queue %d: size %d is not a power of two up to %d", q.index, size, MaxSize)
	}
	if q.running && size != q.size {
		return fmt.Errorf("queue %d: a running queue keeps its size", q.index)
	}
	q.size = size
	return nil
}

// SetBaseLocked sets the entry of the available ring that the queue starts at.
func (q *Queue) SetBaseLocked(base uint16) { q.base = base }

// SetAddressesLocked sets the addresses of the rings.
func (q *Queue) SetAddressesLocked(a Addresses) { q.addrs = &a }

// SetEnabledLocked permits the queue to run, or stops it.
func (q *Queue) SetEnabledLocked(on bool) {
	q.enabled = on
	if !on {
		q.StopLocked()
	}
}

// SetKickLocked sets the file that the driver notifies the device with, and
// closes the one before.
func (q *Queue) SetKickLocked(f *os.File) {
	q.closeKickLocked()
	q.kick, q.kicked = f, true
}

// SetCallLocked sets the descriptor that interrupts the driver, or -1 for none.
// The queue owns it, and closes the one before.
func (q *Queue) SetCallLocked(fd int) {
	old := q.call
	q.call = fd
	if old < 0 {
		return
	}
	_ = unix.Close(old)
	if q.running {
		q.interruptLocked() // the driver may wait for one that went to the old descriptor
	}
}

// RunningLocked reports whether the queue runs.
func (q *Queue) RunningLocked() bool { return q.running }

// FailedLocked reports whether FailLocked has stopped the queue.
func (q *Queue) FailedLocked() bool { return q.failed }

// StartLocked makes the queue run if the front end has set all it needs. On an
// error the queue has failed.
func (q *Queue) StartLocked(mem *Memory, eventIndex bool) error {
	if q.running || q.failed || q.addrs == nil || !q.kicked || !q.enabled || mem == nil || q.size == 0 {
		return nil
	}
	if err := q.resolveLocked(mem); err != nil {
		q.failed = true
		return err
	}
	q.eventIndex = eventIndex
	q.nextAvail = q.base
	q.nextUsed = binary.LittleEndian.Uint16(q.used[2:])
	q.signalled, q.unsignalled = q.nextUsed, 0
	q.usedFlags = 0
	q.running = true
	q.EnableNotifyLocked()
	return nil
}

// MoveLocked makes a running queue use another mapping of the guest's memory. On
// an error the queue has failed.
func (q *Queue) MoveLocked(mem *Memory) error {
	if !q.running {
		return nil
	}
	err := q.resolveLocked(mem)
	if err != nil {
		q.FailLocked()
	}
	return err
}

func (q *Queue) resolveLocked(mem *Memory) (err error) {
	n := uint64(q.size)
	if q.desc, err = mem.User(q.addrs.Desc, 16*n); err != nil {
		return err
	}
	if q.avail, err = mem.User(q.addrs.Avail, 4+2*n+2); err != nil {
		return err
	}
	if q.used, err = mem.User(q.addrs.Used, 4+8*n+2); err != nil {
		return err
	}
	if !aligned(q.avail) || !aligned(q.used) {
		return fmt.Errorf("queue %d: a ring is not 4-byte aligned", q.index)
	}
	q.mem = mem
	return nil
}

func aligned(b []byte) bool { return uintptr(unsafe.Pointer(&b[0]))&3 == 0 }

// StopLocked makes the queue idle: it does not touch the guest's memory until it is
// started again, at the same entry.
func (q *Queue) StopLocked() {
	if q.running {
		q.base = q.nextAvail
	}
	q.running = false
	q.mem, q.desc, q.avail, q.used = nil, nil, nil, nil
}

// FailLocked stops the queue for good.
func (q *Queue) FailLocked() {
	q.StopLocked()
	q.failed = true
}

// TakeDownLocked stops the queue, closes its kick, and returns the entry that it
// would start at again: what GET_VRING_BASE does.
func (q *Queue) TakeDownLocked() (base uint16) {
	q.StopLocked()
	q.kicked = false
	q.closeKickLocked()
	return q.base
}

// CloseLocked fails the queue and closes its descriptors.
func (q *Queue) CloseLocked() {
	q.FailLocked()
	q.closeKickLocked()
	if q.call >= 0 {
		_ = unix.Close(q.call)
		q.call = -1
	}
}

func (q *Queue) closeKickLocked() {
	if q.kick != nil {
		_ = q.kick.Close()
		q.kick = nil
	}
}
