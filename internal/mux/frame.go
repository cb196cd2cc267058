package mux

import (
	"encoding/binary"
	"fmt"
)

// The frames of yamux, specification version 0:
// https://github.com/hashicorp/yamux/blob/master/spec.md
const (
	frameVersion = 0
	headerSize   = 12

	// initialWindow is the window that every stream begins with, in bytes.
	initialWindow = 256 << 10
)

type frameKind uint8

const (
	kindData   frameKind = 0 // length: of the body that follows
	kindWindow frameKind = 1 // length: how many bytes more the receiver takes
	kindPing   frameKind = 2 // length: anything, which is sent back
	kindGoAway frameKind = 3 // length: a code
)

type frameFlags uint16

const (
	flagSYN frameFlags = 1 << iota // opens the stream; of a ping: asks
	flagACK                        // takes it; of a ping: answers
	flagFIN                        // the end of the sender's direction
	flagRST                        // the end of both, for good
)

// A header is what every frame begins with.
type header struct {
	kind   frameKind
	flags  frameFlags
	stream uint32
	length uint32
}

func (h header) appendTo(b []byte) []byte {
	b = append(b, frameVersion, byte(h.kind))
	b = binary.BigEndian.AppendUint16(b, uint16(h.flags))
	b = binary.BigEndian.AppendUint32(b, h.stream)
	return binary.BigEndian.AppendUint32(b, h.length)
}

func parseHeader(b []byte) (header, error) {
	h := header{
		kind:   frameKind(b[1]),
		flags:  frameFlags(binary.BigEndian.Uint16(b[2:])),
		stream: binary.BigEndian.Uint32(b[4:]),
		length: binary.BigEndian.Uint32(b[8:]),
	}
	if b[0] != frameVersion || h.kind > kindGoAway {
		return header{}, fmt.Errorf("%w: invalid frame header % x", ErrProtocol, b[:headerSize])
	}
	return h, nil
}
