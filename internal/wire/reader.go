package wire

import (
	"bytes"
	"fmt"
	"io"

	"github.com/vmihailenco/msgpack/v5"
)

// headSize is within how many bytes of a message that is not read its type and
// id are looked for. They come first in ours.
const headSize = 4 << 10

// A Reader reads messages as [Read] does, with limits of the receiver's own,
// that are not the peer's fault.
type Reader struct {
	R   io.Reader
	Max int // bytes of a message; 0: [MaxMessage]

	// Hold is called before a message is read, with its size in bytes. With an
	// error the message is not read. nil: there is room for each.
	Hold func(size int) error
}

// TooLong stands for a message of a known type and id that was thrown away as
// it came.
type TooLong struct {
	Head
	Err error
}

func (m *TooLong) kind() Type { return m.Type }

// Read reads one message and returns its size in bytes, with an error too once
// Hold has been called without one. A message that is beyond the Reader's limits is
// returned as a [*TooLong], unless it hides its id, and then the error is that of
// the limit.
func (r *Reader) Read() (m Message, size int, err error) {
	if size, err = readLength(r.R); err != nil {
		return nil, 0, err
	}
	if r.Max > 0 && size > r.Max {
		err = fmt.Errorf("message of %d bytes: want at most %d", size, r.Max)
	} else if r.Hold != nil {
		err = r.Hold(size)
	}
	if err != nil {
		m, err = r.discard(size, err)
		return m, 0, err
	}
	m, err = readMessage(r.R, size)
	return m, size, err
}

// discard reads over a message, for a reason.
func (r *Reader) discard(size int, reason error) (Message, error) {
	first := make([]byte, min(size, headSize))
	if _, err := io.ReadFull(r.R, first); err != nil {
		return nil, within(err)
	}
	if _, err := io.CopyN(io.Discard, r.R, int64(size-len(first))); err != nil {
		return nil, within(err)
	}
	head := headOf(first)
	if head.ID == 0 {
		return nil, reason
	}
	return &TooLong{Head: head, Err: reason}, nil
}

// headOf returns what the beginning of a message says of its type and id.
func headOf(first []byte) (h Head) {
	f := fields{mode: reading, d: msgpack.GetDecoder()}
	defer msgpack.PutDecoder(f.d)
	f.d.Reset(bytes.NewReader(first))
	n, err := f.d.DecodeMapLen()
	f.note(err)
	for ; n > 0 && f.err == nil && (h.Type == "" || h.ID == 0); n-- {
		f.key, f.read = f.readText(), false
		h.fields(&f)
		if !f.read {
			break // it may be longer than what is there
		}
	}
	if f.err != nil {
		return Head{}
	}
	return h
}
