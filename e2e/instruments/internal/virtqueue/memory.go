//go:build linux

package virtqueue

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A Region is one piece of a guest's memory, as SET_MEM_TABLE of vhost-user
// describes it.
type Region struct {
	Guest  uint64 // its guest physical address, which descriptors use
	User   uint64 // its address in the front end, which SET_VRING_ADDR uses
	Size   uint64
	Offset uint64 // where it begins in its file
}

// maxSize bounds a region's size and offset, so that their sum is an int.
const maxSize = 1 << 46

// A Memory is what a guest shares with the device. Its methods are not safe for
// concurrent use with Map and Unmap.
type Memory struct{ mapped []mapping }

type mapping struct {
	Region
	data  []byte // the region
	whole []byte // what munmap(2) takes
}

// Map maps one region of the file fd, which the caller may then close.
func (m *Memory) Map(fd int, r Region) error {
	if r.Size == 0 || r.Size > maxSize || r.Offset > maxSize {
		return fmt.Errorf("memory region: size %#x, offset %#x", r.Size, r.Offset)
	}
	end := r.Offset + r.Size
	var file unix.Stat_t
	if err := unix.Fstat(fd, &file); err != nil {
		return fmt.Errorf("stat memory region: %w", err)
	}
	// A touch of a mapping behind the end of its file is a SIGBUS.
	if file.Mode&unix.S_IFMT == unix.S_IFREG && uint64(file.Size) < end {
		return fmt.Errorf("memory region ends at %#x of a file of %#x bytes", end, file.Size)
	}
	// From 0, as libvhost-user does: the offset may be no multiple of a huge page.
	whole, err := unix.Mmap(fd, 0, int(end), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		return fmt.Errorf("map memory region: %w", err)
	}
	m.mapped = append(m.mapped, mapping{Region: r, data: whole[r.Offset:end:end], whole: whole})
	return nil
}

// Unmap gives all regions back. Slices of them must not be used afterwards.
func (m *Memory) Unmap() {
	for _, r := range m.mapped {
		_ = unix.Munmap(r.whole)
	}
	m.mapped = nil
}

// Guest returns n bytes at a guest physical address. They lie in one region.
func (m *Memory) Guest(addr, n uint64) ([]byte, error) {
	for _, r := range m.mapped {
		if b := r.slice(addr, r.Guest, n); b != nil {
			return b, nil
		}
	}
	return nil, fmt.Errorf("guest address %#x+%#x is not mapped", addr, n)
}

// User returns n bytes at an address of the front end. They lie in one region.
func (m *Memory) User(addr, n uint64) ([]byte, error) {
	for _, r := range m.mapped {
		if b := r.slice(addr, r.User, n); b != nil {
			return b, nil
		}
	}
	return nil, fmt.Errorf("front end address %#x+%#x is not mapped", addr, n)
}

// slice returns n bytes at addr if the region begins at base, or nil if the
// region does not have all of them. No sum here can overflow.
func (r *mapping) slice(addr, base, n uint64) []byte {
	if addr < base {
		return nil
	}
	off := addr - base
	if off >= r.Size || n > r.Size-off {
		return nil
	}
	return r.data[off : off+n : off+n]
}
