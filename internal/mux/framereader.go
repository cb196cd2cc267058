package mux

import (
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// readAhead is how much is read ahead of the frame that is being taken, in
// bytes. Longer bodies are read to where they belong.
const readAhead = 16 << 10

// An frameReader reads the connection. Only the receiving goroutine uses it, but for heard and
// received.
type frameReader struct {
	conn     io.Reader
	buf      []byte
	have     []byte        // of buf: read, and not yet taken
	heard    atomic.Int64  // when bytes last came, as since began
	received atomic.Uint64 // bytes
}

// began is an instant of the monotonic clock, which stands still while the host is
// suspended: that time does not count as silence of the peer.
var began = time.Now()

func newFrameReader(conn io.Reader) *frameReader {
	r := &frameReader{conn: conn, buf: make([]byte, readAhead)}
	r.hear(0)
	return r
}

// hear notes that n bytes have come.
func (r *frameReader) hear(n int) {
	r.heard.Store(int64(time.Since(began)))
	r.received.Add(uint64(n))
}

// header reads the next frame's. It returns io.EOF if the connection ends between
// frames.
func (r *frameReader) header() (header, error) {
	for len(r.have) < headerSize {
		if err := r.more(); err != nil {
			return header{}, err
		}
	}
	h, err := parseHeader(r.have)
	r.have = r.have[headerSize:]
	return h, err
}

// more reads some, behind what there is.
func (r *frameReader) more() error {
	kept := copy(r.buf, r.have)
	n, err := r.conn.Read(r.buf[kept:])
	r.have = r.buf[:kept+n]
	if n > 0 {
		r.hear(n)
		return nil
	}
	if kept > 0 {
		err = within(err)
	}
	return err
}

// within is the error of a connection that ends within a frame.
func within(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// gather reads the next n bytes of a body, which are valid until the next call.
// n is at most the frameReader's size.
func (r *frameReader) gather(n int) ([]byte, error) {
	for len(r.have) < n {
		if err := r.more(); err != nil {
			return nil, within(err)
		}
	}
	body := r.have[:n]
	r.have = r.have[n:]
	return body, nil
}

// body fills p with the next bytes of a frame's body.
func (r *frameReader) body(p []byte) error {
	n := copy(p, r.have)
	r.have = r.have[n:]
	for n < len(p) {
		m, err := r.conn.Read(p[n:])
		if n += m; m > 0 {
			r.hear(m)
			continue
		}
		if err != nil {
			return within(err)
		}
	}
	return nil
}

// skip reads n bytes of a body and throws them away.
func (r *frameReader) skip(n int) error {
	for n > 0 {
		if len(r.have) == 0 {
			if err := r.more(); err != nil {
				return within(err)
			}
		}
		m := min(n, len(r.have))
		r.have = r.have[m:]
		n -= m
	}
	return nil
}
