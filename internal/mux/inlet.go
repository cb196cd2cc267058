package mux

import (
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// inletSize is how much is read ahead of the frame that is being taken, in
// bytes. Longer bodies are read to where they belong.
const inletSize = 16 << 10

// An inlet reads the connection. Only the receiving goroutine uses it, but for heard and
// received.
type inlet struct {
	conn     io.Reader
	buf      []byte
	have     []byte        // of buf: read, and not yet taken
	heard    atomic.Int64  // when bytes last came, as since began
	received atomic.Uint64 // bytes
}

// began is an instant of the monotonic clock, which stands still while the host
// is suspended: that is no silence of the peer's.
var began = time.Now()

func newInlet(conn io.Reader) *inlet {
	in := &inlet{conn: conn, buf: make([]byte, inletSize)}
	in.hear(0)
	return in
}

// hear notes that n bytes have come.
func (in *inlet) hear(n int) {
	in.heard.Store(int64(time.Since(began)))
	in.received.Add(uint64(n))
}

// header reads the next frame's. It returns io.EOF where the connection ends
// between frames.
func (in *inlet) header() (header, error) {
	for len(in.have) < headerSize {
		if err := in.more(); err != nil {
			return header{}, err
		}
	}
	h, err := parseHeader(in.have)
	in.have = in.have[headerSize:]
	return h, err
}

// more reads some, behind what there is.
func (in *inlet) more() error {
	kept := copy(in.buf, in.have)
	n, err := in.conn.Read(in.buf[kept:])
	in.have = in.buf[:kept+n]
	if n > 0 {
		in.hear(n)
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
// n is at most the inlet's size.
func (in *inlet) gather(n int) ([]byte, error) {
	for len(in.have) < n {
		if err := in.more(); err != nil {
			return nil, within(err)
		}
	}
	body := in.have[:n]
	in.have = in.have[n:]
	return body, nil
}

// body fills p with the next bytes of a frame's body.
func (in *inlet) body(p []byte) error {
	n := copy(p, in.have)
	in.have = in.have[n:]
	for n < len(p) {
		m, err := in.conn.Read(p[n:])
		if n += m; m > 0 {
			in.hear(m)
			continue
		}
		if err != nil {
			return within(err)
		}
	}
	return nil
}

// skip reads n bytes of a body and throws them away.
func (in *inlet) skip(n int) error {
	for n > 0 {
		if len(in.have) == 0 {
			if err := in.more(); err != nil {
				return within(err)
			}
		}
		m := min(n, len(in.have))
		in.have = in.have[m:]
		n -= m
	}
	return nil
}
