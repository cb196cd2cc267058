package files

import (
	"bufio"
	"encoding/binary"
	"io"
	"sync"
	"sync/atomic"
)

// codec carries the fields of a frame to bytes and back. A field is its key, the length of
// its value as an unsigned varint, and the value: bytes, an unsigned varint, a zigzag
// varint for [Frame.Sec], or nothing for a flag. Unknown keys are ignored.
type codec struct {
	out     []byte // writing
	reading bool
	key     byte
	value   []byte
	bad     bool
}

func text(c *codec, key byte, v *string) {
	switch {
	case c.reading:
		if c.key == key {
			*v = string(c.value)
		}
	case *v != "":
		c.out = append(binary.AppendUvarint(append(c.out, key), uint64(len(*v))), *v...)
	}
}

func number[T ~uint64 | ~uint8](c *codec, key byte, v *T) {
	switch {
	case c.reading:
		if c.key == key {
			n, size := binary.Uvarint(c.value)
			c.bad = c.bad || size != len(c.value) || uint64(T(n)) != n
			*v = T(n)
		}
	case *v != 0:
		var n [binary.MaxVarintLen64]byte
		size := binary.PutUvarint(n[:], uint64(*v))
		c.out = append(append(c.out, key, byte(size)), n[:size]...)
	}
}

// signed is a number that may be below 0.
func signed(c *codec, key byte, v *int64) {
	n := uint64(*v<<1) ^ uint64(*v>>63)
	number(c, key, &n)
	if c.reading && c.key == key {
		*v = int64(n>>1) ^ -int64(n&1)
	}
}

func flag(c *codec, key byte, v *bool) {
	switch {
	case c.reading:
		*v = *v || c.key == key
	case *v:
		c.out = append(c.out, key, 0)
	}
}

// appendFrame appends f to dst.
func appendFrame(dst []byte, f *Frame) []byte {
	start := len(dst)
	c := codec{out: append(dst, byte(f.Kind), 0, 0, 0, 0)}
	f.fields(&c)
	binary.BigEndian.PutUint32(c.out[start+1:], uint32(len(c.out)-start-headSize))
	return c.out
}

// decodeFrame decodes the body of a frame.
func decodeFrame(kind Kind, body []byte) (*Frame, error) {
	f := &Frame{Kind: kind}
	c := codec{reading: true}
	for len(body) > 0 {
		n, size := binary.Uvarint(body[1:])
		if size <= 0 || n > uint64(len(body)-1-size) {
			return nil, broken("a field of %q ends early", kind)
		}
		c.key, c.value, body = body[0], body[1+size:][:n], body[1+size:][n:]
		f.fields(&c)
	}
	if c.bad {
		return nil, broken("a number of %q", kind)
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	return f, nil
}

// writer writes frames. It is safe for concurrent use.
type writer struct {
	stopped atomic.Pointer[error] // nothing more is written

	mu  sync.Mutex
	w   *bufio.Writer
	buf []byte
	bad bool // a write has failed
}

// writeSize is how much goes into one write: as much as a pipe holds.
const writeSize = 64 << 10

func newWriter(w io.Writer) *writer { return &writer{w: bufio.NewWriterSize(w, writeSize)} }

// send writes f, which may wait in the buffer.
func (w *writer) send(f *Frame) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = appendFrame(w.buf[:0], f)
	return w.writeLocked(w.buf)
}

func (w *writer) writeLocked(p []byte) error {
	if err := w.stopped.Load(); err != nil {
		return *err
	}
	_, err := w.w.Write(p)
	w.bad = w.bad || err != nil
	return err
}

// stop has all later writes fail with err. It does not wait for one that is under way.
func (w *writer) stop(err error) { w.stopped.Store(&err) }

// failed reports whether a write has failed, or was stopped.
func (w *writer) failed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bad || w.stopped.Load() != nil
}

// tell sends f at once.
func (w *writer) tell(f *Frame) error {
	if err := w.send(f); err != nil {
		return err
	}
	return w.flush()
}

func (w *writer) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.w.Flush()
	w.bad = w.bad || err != nil
	return err
}

// data writes a KindData. The first headSize bytes of buf are the writer's, the rest is the data.
func (w *writer) data(buf []byte) error {
	buf[0] = byte(KindData)
	binary.BigEndian.PutUint32(buf[1:], uint32(len(buf)-headSize))
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.writeLocked(buf)
}

// reader reads frames.
type reader struct {
	r    *input
	body []byte
	left int // of a KindData that has not been read to its end
}

func newReader(r io.Reader) *reader { return &reader{r: newInput(r)} }

// next returns the next frame. Of a KindData it returns nil: what read returns follows. io.EOF
// means that the peer has gone between two frames.
func (r *reader) next() (*Frame, error) {
	var head [headSize]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return nil, err
	}
	kind, size := Kind(head[0]), binary.BigEndian.Uint32(head[1:])
	if kind == KindData {
		if size > MaxData {
			return nil, broken("%d bytes of data: want at most %d", size, MaxData)
		}
		r.left = int(size)
		r.r.bulk = r.left == MaxData
		return nil, nil
	}
	r.r.bulk = false
	if size > maxBody {
		return nil, broken("frame of %d bytes: want at most %d", size, maxBody)
	}
	r.body = grow(r.body, int(size))
	if _, err := io.ReadFull(r.r, r.body); err != nil {
		return nil, unexpected(err)
	}
	return decodeFrame(kind, r.body)
}

// read reads from the KindData that next has found. It returns 0 at its end.
func (r *reader) read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, nil
	}
	n, err := r.r.Read(p[:min(len(p), r.left)])
	r.left -= n
	if n > 0 {
		return n, nil
	}
	return 0, unexpected(err)
}

func grow(b []byte, size int) []byte {
	if cap(b) < size {
		return make([]byte, size)
	}
	return b[:size]
}

// unexpected is the error of a stream that ends within a frame.
func unexpected(err error) error {
	if err == io.EOF { //nolint:errorlint // of io, which wraps none
		return io.ErrUnexpectedEOF
	}
	return err
}
