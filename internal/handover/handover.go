// Package handover carries the state of a program to another one that is executed in its
// place: a file in memory, sealed, with one document and the bytes that stand apart from it. It
// knows nothing of what they mean.
//
// The file begins with a line that names it. Three numbers follow, of 8 bytes each, little endian: the
// version of the document, the version that a program must know to go on with it, and the length of
// the document. Then come the document, as JSON, and the bytes.
package handover

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// Version is that of the documents that this program writes. A program reads a document if it
// knows the version that the document needs: fields that it does not know are ignored.
const Version = 1

const (
	// needs is the least version that knows all of a document whose rest is of no account.
	needs = 1

	magic = "cocoon-agent state\n"

	// MaxDocument is the longest document, in bytes.
	MaxDocument = 64 << 20
)

// ErrState is wrapped by the errors about a file with which this program cannot go on.
var ErrState = errors.New("handed-over state")

// headerSize is what stands before the document.
const headerSize = len(magic) + 3*8

// A Writer collects what is handed over. It is not safe for concurrent use.
type Writer struct {
	parts [][]byte
	size  int64
}

// A Range is where bytes stand among all that a Writer has.
type Range struct{ At, Len int64 }

// Put adds parts, which must not change until WriteTo has returned.
func (w *Writer) Put(parts ...[]byte) Range {
	r := Range{At: w.size}
	for _, p := range parts {
		w.parts = append(w.parts, p)
		r.Len += int64(len(p))
	}
	w.size += r.Len
	return r
}

// WriteTo writes the file.
func (w *Writer) WriteTo(to io.Writer, document any) error {
	text, err := json.Marshal(document)
	if err != nil {
		return err
	}
	if len(text) > MaxDocument {
		return fmt.Errorf("%w: a document of %d bytes: want at most %d", ErrState, len(text), MaxDocument)
	}
	first := []byte(magic)
	for _, n := range []uint64{Version, needs, uint64(len(text))} {
		first = binary.LittleEndian.AppendUint64(first, n)
	}
	for _, p := range append([][]byte{first, text}, w.parts...) {
		if _, err := to.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// A Reader reads what was handed over. It is safe for concurrent use.
type Reader struct {
	from io.ReaderAt
	base int64
}

// Read reads the document of a file into document, and returns a Reader of the rest. The error wraps
// [ErrState].
func Read(from io.ReaderAt, document any) (*Reader, error) {
	first := make([]byte, headerSize)
	if _, err := from.ReadAt(first, 0); err != nil || string(first[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: not of cocoon-agent", ErrState)
	}
	var numbers [3]uint64
	for i := range numbers {
		numbers[i] = binary.LittleEndian.Uint64(first[len(magic)+8*i:])
	}
	version, needed, length := numbers[0], numbers[1], numbers[2]
	switch {
	case needed > Version || needed < 1:
		return nil, fmt.Errorf("%w: of version %d, which needs a program that knows version %d: this one knows %d", ErrState, version, needed, Version)
	case length > MaxDocument:
		return nil, fmt.Errorf("%w: a document of %d bytes", ErrState, length)
	}
	text := make([]byte, length)
	if _, err := from.ReadAt(text, int64(headerSize)); err != nil {
		return nil, fmt.Errorf("%w: cut short: %w", ErrState, err)
	}
	if err := json.Unmarshal(text, document); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrState, err)
	}
	return &Reader{from, int64(headerSize) + int64(length)}, nil
}

// Get fills p with the bytes of a Writer that begin at an offset. The error wraps [ErrState].
func (r *Reader) Get(at int64, p []byte) error {
	if at < 0 || at > math.MaxInt64-r.base {
		return fmt.Errorf("%w: no bytes at %d", ErrState, at)
	}
	if n, err := r.from.ReadAt(p, r.base+at); n < len(p) {
		return fmt.Errorf("%w: %d of %d bytes at %d: %w", ErrState, n, len(p), at, err)
	}
	return nil
}
