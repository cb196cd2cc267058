//go:build linux

package virtqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	descNext     = 1 // VIRTQ_DESC_F_NEXT
	descWrite    = 2 // VIRTQ_DESC_F_WRITE
	descIndirect = 4 // VIRTQ_DESC_F_INDIRECT

	descSize = 16

	// maxSegments bounds what one chain of an indirect table can make the device
	// remember. Linux' vsock driver uses at most 19, for a header and a socket buffer.
	maxSegments = 1024
)

// A Chain is one buffer of the driver's. It is valid until the next PopLocked,
// and as long as the queue runs.
type Chain struct {
	head     uint16
	segments [][]byte
	readable int // segments[:readable] are for the device to read, the others to write
}

// walkLocked follows the descriptors from head on.
func (q *Queue) walkLocked(head uint16) (Chain, error) {
	c := Chain{head: head, segments: q.segments[:0]}
	err := c.follow(q.mem, q.desc, head, true)
	q.segments = c.segments
	return c, err
}

// follow adds the chain that starts at entry i of a table. The table is the
// queue's, or an indirect one, which has no indirect descriptors itself.
func (c *Chain) follow(mem *Memory, table []byte, i uint16, direct bool) error {
	le := binary.LittleEndian
	entries := len(table) / descSize
	for steps := 0; ; steps++ {
		if int(i) >= entries {
			return fmt.Errorf("descriptor %d of a table of %d", i, entries)
		}
		if steps >= entries {
			return fmt.Errorf("a chain of more descriptors than its table of %d has", entries)
		}
		// Each field is read once: the driver may change them meanwhile.
		d := table[descSize*int(i):]
		addr, length, flags, next := le.Uint64(d), le.Uint32(d[8:]), le.Uint16(d[12:]), le.Uint16(d[14:])
		if flags&descIndirect != 0 {
			if !direct || flags&descNext != 0 {
				return errors.New("an indirect descriptor that is not the last of a direct chain")
			}
			return c.followIndirect(mem, addr, length)
		}
		if err := c.add(mem, addr, length, flags&descWrite != 0); err != nil {
			return err
		}
		if flags&descNext == 0 {
			return nil
		}
		i = next
	}
}

func (c *Chain) followIndirect(mem *Memory, addr uint64, length uint32) error {
	if length == 0 || length%descSize != 0 {
		return fmt.Errorf("an indirect table of %d bytes", length)
	}
	table, err := mem.Guest(addr, uint64(length))
	if err != nil {
		return err
	}
	return c.follow(mem, table, 0, false)
}

func (c *Chain) add(mem *Memory, addr uint64, length uint32, writable bool) error {
	if length == 0 {
		return nil
	}
	b, err := mem.Guest(addr, uint64(length))
	if err != nil {
		return err
	}
	if len(c.segments) == maxSegments {
		return fmt.Errorf("a chain of more than %d segments", maxSegments)
	}
	if !writable {
		if c.readable != len(c.segments) {
			return errors.New("a readable descriptor after a writable one")
		}
		c.readable++
	}
	c.segments = append(c.segments, b)
	return nil
}

// Readable returns how many bytes the driver gave for reading.
func (c Chain) Readable() int { return total(c.segments[:c.readable]) }

// Writable returns how many bytes the driver gave for writing.
func (c Chain) Writable() int { return total(c.segments[c.readable:]) }

func total(segments [][]byte) (n int) {
	for _, s := range segments {
		n += len(s)
	}
	return n
}

// Read copies the readable bytes from offset on to b, and returns how many.
func (c Chain) Read(b []byte, offset int) (n int) {
	for _, s := range c.segments[:c.readable] {
		if offset >= len(s) {
			offset -= len(s)
			continue
		}
		n += copy(b[n:], s[offset:])
		offset = 0
	}
	return n
}

// Write copies b to the writable bytes from offset on, and returns how many.
func (c Chain) Write(b []byte, offset int) (n int) {
	for _, s := range c.segments[c.readable:] {
		if offset >= len(s) {
			offset -= len(s)
			continue
		}
		n += copy(s[offset:], b[n:])
		offset = 0
	}
	return n
}
