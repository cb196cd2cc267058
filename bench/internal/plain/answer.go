package plain

import (
	"encoding/binary"
	"io"
	"net"
)

// answerChunk is the size of a write of an answer, in bytes.
const answerChunk = 64 << 10

// A question is as long as this. It begins with the size of its answer, in bytes.
type question [64]byte

// Answer answers questions until nc ends.
func Answer(nc net.Conn) error {
	chunk := make([]byte, answerChunk)
	for {
		var q question
		if _, err := io.ReadFull(nc, q[:]); err != nil {
			return err
		}
		for left := binary.BigEndian.Uint64(q[:]); left > 0; {
			n, err := nc.Write(chunk[:min(left, answerChunk)])
			if err != nil {
				return err
			}
			left -= uint64(n)
		}
	}
}

// Ask asks for so many bytes, and reads them.
func Ask(nc net.Conn, bytes int64) error {
	var q question
	binary.BigEndian.PutUint64(q[:], uint64(bytes))
	if _, err := nc.Write(q[:]); err != nil {
		return err
	}
	chunk := make([]byte, min(bytes, answerChunk))
	for left := bytes; left > 0; left -= int64(len(chunk)) {
		chunk = chunk[:min(left, answerChunk)]
		if _, err := io.ReadFull(nc, chunk); err != nil {
			return err
		}
	}
	return nil
}
