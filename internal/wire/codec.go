package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/vmihailenco/msgpack/v5"
)

// lengthSize is the size of the big-endian length before each message, in bytes.
const lengthSize = 4

// firstSize is what a buffer for a message begins with: more than most have.
const firstSize = 256

// firstRead is how much of a message's declared length is taken on trust:
// a longer buffer is only made as its bytes arrive.
const firstRead = 64 << 10

// ErrMessageTooLong is returned for a message of more than [MaxMessage] bytes.
var ErrMessageTooLong = fmt.Errorf("message is longer than %d bytes", MaxMessage)

// Append appends m, framed, to dst and returns the extended slice. If m exceeds
// what a receiver accepts, it returns dst unchanged and an error:
// [ErrMessageTooLong], or [ErrMalformed] if m has more than [MaxElements].
func Append(dst []byte, m Message) ([]byte, error) {
	m.head().Type = m.kind()
	start := len(dst)
	room := dst
	if room == nil {
		room = make([]byte, 0, firstSize)
	}
	buf := bytes.NewBuffer(append(room, make([]byte, lengthSize)...))
	f := fields{mode: writing, e: msgpack.GetEncoder()}
	defer msgpack.PutEncoder(f.e)
	f.e.Reset(buf)
	f.e.UseCompactInts(true)
	f.write(m)
	if f.err != nil {
		return dst, fmt.Errorf("encode %s: %w", m.kind(), f.err)
	}
	out := buf.Bytes()
	size := len(out) - start - lengthSize
	if size > MaxMessage {
		return dst, fmt.Errorf("encode %s of %d bytes: %w", m.kind(), size, ErrMessageTooLong)
	}
	if err := checkStructure(out[start+lengthSize:]); err != nil {
		return dst, fmt.Errorf("encode %s: %w", m.kind(), err)
	}
	binary.BigEndian.PutUint32(out[start:], uint32(size))
	return out, nil
}

// Write writes m to w in one call of Write.
func Write(w io.Writer, m Message) error {
	frame, err := Append(nil, m)
	if err != nil {
		return err
	}
	if _, err := w.Write(frame); err != nil {
		return fmt.Errorf("write %s: %w", m.kind(), err)
	}
	return nil
}

// Read reads one message. It returns io.EOF if r ends before a message, and
// io.ErrUnexpectedEOF if r ends within one. If the peer breaks the rules, the
// error wraps [ErrMessageTooLong] or [ErrMalformed]. Read returns other errors
// of r as they are. After any error r is of no more use.
func Read(r io.Reader) (Message, error) {
	size, err := readLength(r)
	if err != nil {
		return nil, err
	}
	return readMessage(r, size)
}

func readLength(r io.Reader) (int, error) {
	var length [lengthSize]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return 0, err
	}
	size := binary.BigEndian.Uint32(length[:])
	if size > MaxMessage {
		return 0, fmt.Errorf("length %d: %w", size, ErrMessageTooLong)
	}
	return int(size), nil
}

func readMessage(r io.Reader, size int) (Message, error) {
	body, err := readBody(r, size)
	if err != nil {
		return nil, within(err)
	}
	m, err := Decode(body)
	if _, secret := m.(*Reseed); secret {
		clear(body) // the message has a copy of the entropy, which its receiver wipes
	}
	return m, err
}

// within is the error of a message that has begun.
func within(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func readBody(r io.Reader, size int) ([]byte, error) {
	body := make([]byte, min(size, firstRead))
	for have := 0; ; {
		n, err := io.ReadFull(r, body[have:])
		have += n
		if err != nil || have == size {
			return body, err
		}
		body = append(body, make([]byte, min(size-have, have))...)
	}
}

// Decode decodes the body of one message, without its length. A type that is
// not known gives an [*Unknown]. Every error wraps [ErrMalformed].
func Decode(body []byte) (Message, error) {
	if err := checkStructure(body); err != nil {
		return nil, err
	}
	var h Head
	if err := decode(body, &h); err != nil {
		return nil, err
	}
	if h.Type == "" {
		return nil, malformed("no type")
	}
	m := newMessage(h.Type)
	if m == nil {
		return &Unknown{Head: h}, nil
	}
	if err := decode(body, m); err != nil {
		return nil, fmt.Errorf("%s: %w", h.Type, err)
	}
	*m.head() = h
	return m, nil
}

// decode reads body's map into r.
func decode(body []byte, r record) error {
	f := fields{mode: reading, d: msgpack.GetDecoder()}
	defer msgpack.PutDecoder(f.d)
	f.d.Reset(bytes.NewReader(body))
	f.readInto(r)
	return f.err
}
