// Package ttymode carries the modes of a terminal from one system to another, encoded as
// ssh does: RFC 4254, section 8, with IUTF8 of RFC 8160.
package ttymode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Modes are the values of modes by their opcodes: a character of 0 to 255 for those that
// are keys, 255 for a key that is turned off, and 0 or 1 for flags.
type Modes map[uint8]uint32

const (
	opcodeEnd   = 0
	opcodeISig  = 50
	opcodeIUTF8 = 42
	opcodeErase = 3
	opcodeIntr  = 1

	// firstUnknown is the first opcode without an argument of a known size.
	firstUnknown = 160

	entrySize = 5 // an opcode and its argument
)

// MaxSize bounds the encoded form, in bytes.
const MaxSize = firstUnknown*entrySize + 1

// Of returns the modes of the terminal that is open as fd. The error wraps
// errors.ErrUnsupported on systems without termios(3).
func Of(fd int) (Modes, error) { return of(fd) }

// Set gives the terminal that is open as fd the modes that this system knows of m. If m does
// not say whether characters are UTF-8, they are.
func Set(fd int, m Modes) error { return setModes(fd, m) }

// Encode returns the encoded form; of no modes, nil. An error says which opcode the form
// has no room for.
func Encode(m Modes) ([]byte, error) {
	if len(m) == 0 {
		return nil, nil
	}
	var b []byte
	for _, opcode := range slices.Sorted(maps.Keys(m)) {
		if opcode == opcodeEnd || opcode >= firstUnknown {
			return nil, fmt.Errorf("terminal mode with opcode %d: want 1 to %d", opcode, firstUnknown-1)
		}
		b = binary.BigEndian.AppendUint32(append(b, opcode), m[opcode])
	}
	return append(b, opcodeEnd), nil
}

// Decode undoes Encode. As ssh servers do, it stops at the first opcode that it does not
// know the size of.
func Decode(b []byte) (Modes, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("terminal modes of %d bytes: want at most %d", len(b), MaxSize)
	}
	m := Modes{}
	for len(b) > 0 && b[0] != opcodeEnd && b[0] < firstUnknown {
		if len(b) < entrySize {
			return nil, errors.New("terminal modes end within a mode")
		}
		m[b[0]] = binary.BigEndian.Uint32(b[1:])
		b = b[entrySize:]
	}
	return m, nil
}
