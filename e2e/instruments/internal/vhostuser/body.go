//go:build linux

package vhostuser

import (
	"encoding/binary"
	"fmt"

	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/virtqueue"
)

const (
	regionSize = 32
	addrSize   = 40
	configSize = 12 // of a config message's head: offset, size, flags

	noFD       = 1 << 8 // VHOST_USER_VRING_NOFD_MASK
	indexMask  = 0xff   // VHOST_USER_VRING_IDX_MASK
	deviceSize = 256    // VHOST_USER_MAX_CONFIG_SIZE
)

// Uint64 returns the body of a reply that is one number.
func Uint64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

// State returns the body of a reply that is a vring state.
func State(index, value uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, index)
	return binary.LittleEndian.AppendUint32(b, value)
}

func (m *Message) need(n int) error {
	if len(m.Body) < n {
		return fmt.Errorf("a body of %d bytes, want %d", len(m.Body), n)
	}
	return nil
}

// Uint64 parses a body that is one number.
func (m *Message) Uint64() (uint64, error) {
	if err := m.need(8); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(m.Body), nil
}

// State parses a vring state: a queue's index, and a value for it.
func (m *Message) State() (index, value uint32, err error) {
	if err := m.need(8); err != nil {
		return 0, 0, err
	}
	return binary.LittleEndian.Uint32(m.Body), binary.LittleEndian.Uint32(m.Body[4:]), nil
}

// File parses a vring's file. The descriptor is the caller's. It is -1 if the
// front end gives none.
func (m *Message) File() (index uint32, fd int, err error) {
	v, err := m.Uint64()
	if err != nil {
		return 0, -1, err
	}
	fd = -1
	if v&noFD == 0 {
		fd = m.TakeFD()
	}
	return uint32(v & indexMask), fd, nil
}

// Addresses parses the addresses of a queue's rings.
func (m *Message) Addresses() (index uint32, a virtqueue.Addresses, err error) {
	if err := m.need(addrSize); err != nil {
		return 0, a, err
	}
	le := binary.LittleEndian
	a.Desc, a.Used, a.Avail = le.Uint64(m.Body[8:]), le.Uint64(m.Body[16:]), le.Uint64(m.Body[24:])
	return le.Uint32(m.Body), a, nil
}

// Regions parses a memory table. There is a descriptor for each region.
func (m *Message) Regions() ([]virtqueue.Region, error) {
	if err := m.need(8); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	n := le.Uint32(m.Body)
	if n > maxFDs || len(m.Body) < 8+regionSize*int(n) || len(m.fds) < int(n) {
		return nil, fmt.Errorf("%d memory regions in %d bytes with %d descriptors", n, len(m.Body), len(m.fds))
	}
	regions := make([]virtqueue.Region, n)
	for i := range regions {
		b := m.Body[8+regionSize*i:]
		regions[i] = virtqueue.Region{
			Guest: le.Uint64(b), Size: le.Uint64(b[8:]), User: le.Uint64(b[16:]), Offset: le.Uint64(b[24:]),
		}
	}
	return regions, nil
}

// ConfigReply returns the answer to a request for part of the device's
// configuration space, which is space and then zeros.
func (m *Message) ConfigReply(space []byte) ([]byte, error) {
	if err := m.need(configSize); err != nil {
		return nil, err
	}
	offset, size := binary.LittleEndian.Uint32(m.Body), binary.LittleEndian.Uint32(m.Body[4:])
	if uint64(offset)+uint64(size) > deviceSize || uint64(len(m.Body)) != configSize+uint64(size) {
		return nil, fmt.Errorf("configuration space: offset %d, size %d in %d bytes", offset, size, len(m.Body))
	}
	var whole [deviceSize]byte
	copy(whole[:], space)
	reply := append([]byte(nil), m.Body[:configSize]...)
	return append(reply, whole[offset:offset+size]...), nil
}
