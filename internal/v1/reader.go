package v1

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

const (
	// freeLine is how long a line may be, in bytes, that no memory is reserved
	// for: room for the 32 KiB at a time that version-1 peers send.
	freeLine = 64 << 10

	// allLines bounds the memory for the longer ones of all hosts of an agent, in
	// bytes: the longest takes two thirds of it, as it came and decoded.
	allLines = 24 << 20
)

// Errors of lines.
var (
	ErrTooLong   = fmt.Errorf("line is longer than %d bytes", MaxLine)
	ErrNotObject = errors.New("line is not a JSON object")
	ErrMemory    = errors.New("memory for long lines exhausted")
)

// A Memory bounds what an agent holds of long lines, on all of its version-1
// connections together, or what a client or a pool does of those of agents. Its zero
// value is ready. It is safe for concurrent use.
type Memory struct{ used atomic.Int64 }

func (m *Memory) reserve(n int) error {
	if m != nil && m.used.Add(int64(n)) > allLines {
		m.release(n)
		return ErrMemory
	}
	return nil
}

func (m *Memory) release(n int) {
	if m != nil {
		m.used.Add(int64(-n))
	}
}

// A Reader reads lines. It is for one goroutine.
type Reader struct {
	in     *bufio.Reader
	max    int
	memory *Memory // nil: there is enough
	long   []byte  // a line that in does not hold
	held   int     // of memory
}

// NewReader returns a Reader of lines of at most limit bytes, with a buffer of
// size bytes. The memory may be nil.
func NewReader(r io.Reader, size, limit int, m *Memory) *Reader {
	return &Reader{in: bufio.NewReaderSize(r, size), max: limit, memory: m}
}

// Line returns the next line, with its newline, which is valid until the next call. It
// returns io.EOF if the input ends before a line and io.ErrUnexpectedEOF if it ends
// within one.
func (r *Reader) Line() ([]byte, error) {
	r.free()
	line, err := r.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line, err = r.longLine(line)
	}
	switch {
	case errors.Is(err, io.EOF) && len(line) > 0:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	}
	return line, nil
}

// longLine reads the rest of a line. It rejects text that is not a frame early.
func (r *Reader) longLine(first []byte) (line []byte, err error) {
	if first[0] != '{' {
		return nil, ErrNotObject
	}
	for part := first; ; {
		if err := r.keep(part); err != nil {
			return nil, err
		}
		if part[len(part)-1] == '\n' {
			return r.long, nil
		}
		part, err = r.in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return r.long, err
		}
	}
}

// keep puts a part behind what there is of the line.
func (r *Reader) keep(part []byte) error {
	size := len(r.long) + len(part)
	if size > r.max {
		return ErrTooLong
	}
	if size > cap(r.long) {
		room := min(max(size, 2*cap(r.long)), r.max)
		cost := 2 * max(room-freeLine, 0)
		if err := r.memory.reserve(cost - r.held); err != nil {
			return err
		}
		r.held = cost
		r.long = append(make([]byte, 0, room), r.long...)
	}
	r.long = append(r.long, part...)
	return nil
}

// free lets go of a long line.
func (r *Reader) free() {
	r.memory.release(r.held)
	r.held = 0
	if r.long = r.long[:0]; cap(r.long) > freeLine {
		r.long = nil
	}
}

// Next reads and decodes the next line. The frame counts as memory until the next call,
// or Close.
func (r *Reader) Next() (*Frame, error) {
	line, err := r.Line()
	if err != nil {
		return nil, err
	}
	return Decode(line)
}

// nextOfAgent is Next for what an agent says.
func (r *Reader) nextOfAgent() (*Frame, error) {
	line, err := r.Line()
	if err != nil {
		return nil, err
	}
	return DecodeAgent(line)
}

// Buffered returns the bytes of the input that have been read, and are not part of a
// returned line.
func (r *Reader) Buffered() []byte {
	behind, _ := r.in.Peek(r.in.Buffered())
	return behind
}

// Close gives the memory back.
func (r *Reader) Close() { r.free() }

// behind returns a Reader of what comes behind the lines that have been read, of
// any length, with a buffer of another size.
func (r *Reader) behind(rest io.Reader, size int) *Reader {
	have := bytes.NewReader(bytes.Clone(r.Buffered()))
	return NewReader(io.MultiReader(have, rest), size, MaxLine, r.memory)
}
