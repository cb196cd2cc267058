package wire

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Preface is the line that begins every connection of protocol version 2.
const Preface = `{"type":"` + prefaceType + `"}` + "\n"

const prefaceType = "cocoon-agent/2"

// MaxPreface is the longest first line that is read, in bytes, newline included.
const MaxPreface = 4096

// Errors of [ReadPreface] that are the peer's doing.
var (
	ErrPrefaceTooLong = fmt.Errorf("first line is longer than %d bytes", MaxPreface)
	ErrPrefaceInvalid = errors.New("first line is not a JSON object with a type")
)

// A ProtocolError says that the peer's first line asks for a protocol that is
// not spoken here.
type ProtocolError struct {
	Type string // what the line says
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("unknown protocol %q: want %q", clip(e.Type), prefaceType)
}

// ReadPreface reads the first line of a connection and no byte more. It returns
// nil if the line is [Preface] or an equal JSON object, and a [*ProtocolError]
// if it is another object with a type. It returns [ErrPrefaceTooLong] or
// [ErrPrefaceInvalid] for other input. It returns io.EOF if the connection ends
// before the first byte, io.ErrUnexpectedEOF if it ends within the line, and
// r's own errors. r must hold [MaxPreface] bytes.
func ReadPreface(r *bufio.Reader) error {
	line, err := r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull), len(line) > MaxPreface:
		return ErrPrefaceTooLong
	case errors.Is(err, io.EOF) && len(line) > 0:
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	}
	return ParsePreface(line)
}

// ParsePreface is [ReadPreface] of a line that has been read.
func ParsePreface(line []byte) error {
	if len(line) > MaxPreface {
		return ErrPrefaceTooLong
	}
	var first struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(line, &first); err != nil || first.Type == "" {
		return ErrPrefaceInvalid
	}
	if first.Type != prefaceType {
		return &ProtocolError{Type: first.Type}
	}
	return nil
}

// errorLine is the terminal frame of protocol version 1, which is also how a
// connection is refused before a protocol has been agreed on.
type errorLine struct {
	Type    string    `json:"type"`
	Message string    `json:"message"`
	Kind    ErrorKind `json:"kind,omitempty"` // empty: the protocol is not spoken
}

// AppendRefusal appends the line that refuses a connection before a protocol has been agreed on. A
// kind is for a host that speaks the protocol; empty: the protocol is not spoken.
func AppendRefusal(dst []byte, kind ErrorKind, message string) []byte {
	line, err := json.Marshal(errorLine{Type: string(TypeError), Message: message, Kind: kind})
	if err != nil { // a struct of three strings always marshals
		panic(err)
	}
	return append(append(dst, line...), '\n')
}

// ParseRefusal returns what a line says that refuses a connection, and whether line is one. The kind is
// empty if the line is not of this protocol.
func ParseRefusal(line []byte) (kind ErrorKind, message string, ok bool) {
	var e errorLine
	if err := json.Unmarshal(bytes.TrimSpace(line), &e); err != nil || e.Type != string(TypeError) {
		return "", "", false
	}
	return e.Kind, e.Message, true
}

// clip bounds what a peer's text adds to a message.
func clip(s string) string {
	const longest = 64
	if len(s) > longest {
		return s[:longest] + "…"
	}
	return s
}
