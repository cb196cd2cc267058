package files

import "io"

// shift is where the content of files begins in its buffers. The content of a page then never comes to
// lie a few bytes further on in a page of another buffer. Some processors copy that several times
// more slowly: those of AMD's Zen 3, by the instruction that Linux uses (rep movsb).
const shift = 512

// newBuffer returns a buffer for size bytes of content, and for a few bytes that come before it.
func newBuffer(before, size int) []byte { return make([]byte, shift+size)[shift-before:] }

// An input reads much at once, and content straight to where it is to be.
type input struct {
	r    io.Reader
	buf  []byte
	rest []byte // of buf: it has been read from r, and nobody has taken it
	err  error  // of r, for when rest has been taken
	bulk bool   // large frames come: only the head of the next one is read ahead
}

const inputSize = 64 << 10

func newInput(r io.Reader) *input { return &input{r: r, buf: newBuffer(0, inputSize)} }

// Read is that of an io.Reader.
func (in *input) Read(p []byte) (int, error) {
	if len(in.rest) == 0 {
		ahead := in.buf
		if in.bulk {
			ahead = ahead[:headSize]
		}
		if len(p) >= len(ahead) && in.err == nil {
			return in.r.Read(p)
		}
		if in.err != nil {
			return 0, in.err
		}
		var n int
		n, in.err = in.r.Read(ahead)
		if n == 0 {
			return 0, in.err
		}
		in.rest = ahead[:n]
	}
	n := copy(p, in.rest)
	in.rest = in.rest[n:]
	return n, nil
}
