// Package wire is the schema of the control stream and its codec
// (docs/protocol.md): the messages, the framing that carries them, and the
// preface line that comes before everything else on a connection.
//
// Decoding is bounded. A message is read only after its declared length has
// been checked, and its structure is walked before any of it is decoded. So no
// input makes this package allocate more than a small multiple of [MaxMessage],
// recurse deeply, or panic.
package wire

// The range of protocol versions that this package speaks.
const (
	ProtocolMin = 2
	ProtocolMax = 2
)

// Limits of the control stream.
const (
	// MaxMessage is the largest body of one message, in bytes. It leaves room
	// for the longest argument list that Linux accepts with its default stack
	// limit (2 MiB) and an environment as long.
	MaxMessage = 4 << 20

	// MaxElements is the largest number of values in one message, map keys
	// included. It bounds what a message of many empty strings costs to decode.
	MaxElements = 1 << 18

	// MaxDepth is how deep maps and arrays may nest in one message.
	MaxDepth = 8
)
