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

// chunksOf returns the pool of chunks for n bytes, or of the largest, and their size.
func chunksOf(n int) (pool *sync.Pool, size int) {
	switch {
	case n <= smallChunk:
		return &smallChunks, smallChunk
	case n <= mediumChunk:
		return &mediumChunks, mediumChunk
	default:
		return &largeChunks, largeChunk
	}
}

// A chunk is a buffer that holds bytes in a part of it.
type chunk struct {
	buf         *[]byte // of a pool
	first, next int     // the bytes are those from first to before next
}

// newChunk returns one that has room for n bytes, or for as many as a chunk can
// have. It waits until the quota has room for it. It must not be called with mu
// held.
func (s *Stream) newChunk(n int) (chunk, error) {
	pool, size := chunksOf(n)
	if l := s.session.ledger; l != nil {
		if err := l.hold(s, size); err != nil {
			return chunk{}, err
		}
	}
	return chunk{buf: pool.Get().(*[]byte)}, nil
}

// free gives a chunk back.
func (s *Stream) free(c *chunk) {
	pool, size := chunksOf(len(*c.buf))
	pool.Put(c.buf)
	c.buf = nil
	if l := s.session.ledger; l != nil {
		l.free(s, size)
	}
}

func (c *chunk) bytes() []byte { return (*c.buf)[c.first:c.next] }

func (c *chunk) room() []byte { return (*c.buf)[c.next:] }
