package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed is wrapped by the errors about messages that break the rules.
var ErrMalformed = errors.New("malformed message")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// checkStructure walks one msgpack value without decoding it. The value must be
// a map, end at the end of body, use no extension types, and keep to
// MaxElements and MaxDepth. Formats:
// https://github.com/msgpack/msgpack/blob/master/spec.md
func checkStructure(body []byte) error {
	if len(body) == 0 {
		return malformed("empty")
	}
	if c := body[0]; c&0xf0 != 0x80 && c != 0xde && c != 0xdf {
		return malformed("not a map (first byte 0x%02x)", c)
	}
	w := walker{rest: body, left: MaxElements}
	if err := w.value(0); err != nil {
		return err
	}
	if len(w.rest) != 0 {
		return malformed("%d bytes after the end", len(w.rest))
	}
	return nil
}

type walker struct {
	rest []byte
	left int // how many more values may come
}

func (w *walker) value(depth int) error {
	if depth > MaxDepth {
		return malformed("nested deeper than %d", MaxDepth)
	}
	w.left--
	if w.left < 0 {
		return malformed("more than %d values", MaxElements)
	}
	head, err := w.take(1)
	if err != nil {
		return err
	}
	switch c := head[0]; {
	case c <= 0x7f, c >= 0xe0, c == 0xc0, c == 0xc2, c == 0xc3: // fixint, nil, false, true
		return nil
	case c <= 0x8f: // fixmap
		return w.values(2*uint64(c&0x0f), depth)
	case c <= 0x9f: // fixarray
		return w.values(uint64(c&0x0f), depth)
	case c <= 0xbf: // fixstr
		return w.skip(uint64(c & 0x1f))
	default:
		return w.long(c, depth)
	}
}

// long walks what follows a first byte of 0xc1 to 0xdf.
func (w *walker) long(c byte, depth int) error {
	switch c {
	case 0xcc, 0xd0: // uint8, int8
		return w.skip(1)
	case 0xcd, 0xd1: // uint16, int16
		return w.skip(2)
	case 0xca, 0xce, 0xd2: // float32, uint32, int32
		return w.skip(4)
	case 0xcb, 0xcf, 0xd3: // float64, uint64, int64
		return w.skip(8)
	case 0xc4, 0xd9: // bin8, str8
		return w.sized(1)
	case 0xc5, 0xda: // bin16, str16
		return w.sized(2)
	case 0xc6, 0xdb: // bin32, str32
		return w.sized(4)
	case 0xdc: // array16
		return w.container(2, 1, depth)
	case 0xdd: // array32
		return w.container(4, 1, depth)
	case 0xde: // map16
		return w.container(2, 2, depth)
	case 0xdf: // map32
		return w.container(4, 2, depth)
	default: // 0xc1 and the extension types: the protocol uses neither
		return malformed("unknown format 0x%02x", c)
	}
}

func (w *walker) container(lengthBytes, perEntry, depth int) error {
	n, err := w.length(lengthBytes)
	if err != nil {
		return err
	}
	return w.values(n*uint64(perEntry), depth)
}

func (w *walker) values(n uint64, depth int) error {
	for ; n > 0; n-- {
		if err := w.value(depth + 1); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) sized(lengthBytes int) error {
	n, err := w.length(lengthBytes)
	if err != nil {
		return err
	}
	return w.skip(n)
}

func (w *walker) length(size int) (uint64, error) {
	b, err := w.take(size)
	if err != nil {
		return 0, err
	}
	var full [8]byte
	copy(full[8-size:], b)
	return binary.BigEndian.Uint64(full[:]), nil
}

func (w *walker) skip(n uint64) error {
	if n > uint64(len(w.rest)) {
		return malformed("ends within a value")
	}
	w.rest = w.rest[n:]
	return nil
}

func (w *walker) take(n int) ([]byte, error) {
	if n > len(w.rest) {
		return nil, malformed("ends within a value")
	}
	b := w.rest[:n]
	w.rest = w.rest[n:]
	return b, nil
}
