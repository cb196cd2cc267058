//go:build linux

// Package driver is the guest's side of split virtqueues, for tests of the
// device's side. It writes whatever it is told, right or wrong.
package driver

import (
	"encoding/binary"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/virtqueue"
)

// Flags of a descriptor: virtio 1.2, section 2.7.5.
const (
	Next     = 1
	Write    = 2
	Indirect = 4
)

const (
	// GuestBase is the guest physical address of a Memory's first byte.
	GuestBase = 0x4000_0000
	// UserBase is the front end's address of it.
	UserBase = 0x7f00_0000_0000

	descSize = 16
)

// A Memory is a guest's: a file that the device maps too.
type Memory struct {
	FD    int
	Bytes []byte
}

// NewMemory makes a guest's memory. It lives as long as the test.
func NewMemory(t *testing.T, size int) *Memory {
	t.Helper()
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		t.Fatal(err)
	}
	b, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	return &Memory{FD: fd, Bytes: b}
}

// Region returns all of the memory as the device is told of it.
func (m *Memory) Region() virtqueue.Region {
	return virtqueue.Region{Guest: GuestBase, User: UserBase, Size: uint64(len(m.Bytes))}
}

// A Ring is the driver's side of one queue, which lies at an offset of its memory.
type Ring struct {
	mem               *Memory
	size              uint16
	desc, avail, used int
	offered, seen     uint16
}

// Span is the room that a ring of this size needs, in bytes.
func Span(size uint16) int { return 32*int(size) + 64 }

// NewRing lays a queue out at offset, a multiple of 4.
func NewRing(m *Memory, offset int, size uint16) *Ring {
	avail := offset + descSize*int(size)
	used := (avail + 4 + 2*int(size) + 2 + 3) &^ 3
	return &Ring{mem: m, size: size, desc: offset, avail: avail, used: used}
}

// Addresses are where the device finds the queue.
func (r *Ring) Addresses() virtqueue.Addresses {
	return virtqueue.Addresses{Desc: UserBase + uint64(r.desc), Avail: UserBase + uint64(r.avail), Used: UserBase + uint64(r.used)}
}

// Desc writes a descriptor into the queue's table. at is an offset of the memory.
func (r *Ring) Desc(i uint16, at int, length uint32, flags, next uint16) {
	r.mem.Desc(r.desc+descSize*int(i), GuestBase+uint64(at), length, flags, next)
}

// Desc writes a descriptor anywhere, with any address.
func (m *Memory) Desc(offset int, addr uint64, length uint32, flags, next uint16) {
	le := binary.LittleEndian
	le.PutUint64(m.Bytes[offset:], addr)
	le.PutUint32(m.Bytes[offset+8:], length)
	le.PutUint16(m.Bytes[offset+12:], flags)
	le.PutUint16(m.Bytes[offset+14:], next)
}

// Offer makes the chain that starts at head available.
func (r *Ring) Offer(head uint16) {
	slot := r.offered % r.size
	binary.LittleEndian.PutUint16(r.mem.Bytes[r.avail+4+2*int(slot):], head)
	r.offered++
	r.SetAvailable(r.offered)
}

// SetAvailable writes the index of the available ring.
func (r *Ring) SetAvailable(index uint16) {
	binary.LittleEndian.PutUint16(r.mem.Bytes[r.avail+2:], index)
}

// SetUsedEvent asks for an interrupt when the device has passed this index.
func (r *Ring) SetUsedEvent(index uint16) {
	binary.LittleEndian.PutUint16(r.mem.Bytes[r.avail+4+2*int(r.size):], index)
}

// Used returns the next buffer that the device has given back, if there is one.
func (r *Ring) Used() (head uint16, length uint32, ok bool) {
	le := binary.LittleEndian
	if le.Uint16(r.mem.Bytes[r.used+2:]) == r.seen {
		return 0, 0, false
	}
	slot := r.mem.Bytes[r.used+4+8*int(r.seen%r.size):]
	r.seen++
	return uint16(le.Uint32(slot)), le.Uint32(slot[4:]), true
}

// String describes the ring in a test's failure.
func (r *Ring) String() string {
	return fmt.Sprintf("ring of %d: %d offered, %d seen", r.size, r.offered, r.seen)
}
