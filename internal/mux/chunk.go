package mux

import "sync"

// Received bytes are kept in chunks. A stream that holds nothing has none.
const (
	smallChunk  = 4 << 10
	mediumChunk = 16 << 10
	largeChunk  = MaxFrame
)

var (
	smallChunks  = sync.Pool{New: func() any { b := make([]byte, smallChunk); return &b }}
	mediumChunks = sync.Pool{New: func() any { b := make([]byte, mediumChunk); return &b }}
	largeChunks  = sync.Pool{New: func() any { b := make([]byte, largeChunk); return &b }}
)

// chunksOf returns the pool of chunks for n bytes, or of the largest.
func chunksOf(n int) *sync.Pool {
	switch {
	case n <= smallChunk:
		return &smallChunks
	case n <= mediumChunk:
		return &mediumChunks
	default:
		return &largeChunks
	}
}

// A chunk is a buffer of which a part holds bytes.
type chunk struct {
	buf         *[]byte // of a pool
	first, next int     // the bytes are those from first to before next
}

// newChunk returns one that has room for n bytes, or for as many as a chunk can
// have.
func newChunk(n int) chunk {
	return chunk{buf: chunksOf(n).Get().(*[]byte)}
}

func (c *chunk) bytes() []byte { return (*c.buf)[c.first:c.next] }

func (c *chunk) room() []byte { return (*c.buf)[c.next:] }

func (c *chunk) free() {
	chunksOf(len(*c.buf)).Put(c.buf)
	c.buf = nil
}
