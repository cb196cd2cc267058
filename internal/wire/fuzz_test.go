package wire_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// FuzzDecode: whatever is decoded is understood the same by the next one who
// is sent it.
func FuzzDecode(f *testing.F) {
	for _, g := range goldenMessages() {
		f.Add(readGolden(f, g.name).bytes[frameHeader:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := wire.Decode(body)
		if err != nil {
			if !errors.Is(err, wire.ErrMalformed) || m != nil {
				t.Fatalf("Decode = %+v, %v, want nil, %v", m, err, wire.ErrMalformed)
			}
			return
		}
		again, err := wire.Decode(encode(t, m))
		if err != nil {
			t.Fatalf("%+v, encoded again: %v", m, err)
		}
		if diff := cmp.Diff(m, again, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("encoded and decoded again (-first +again)\n%s", diff)
		}
	})
}

// FuzzRead: a stream is read message by message, each with the bytes that its
// length says, and its end is told from its cut.
func FuzzRead(f *testing.F) {
	var stream []byte
	for _, g := range goldenMessages() {
		b := readGolden(f, g.name).bytes
		f.Add(b)
		stream = append(stream, b...)
	}
	f.Add(stream)
	f.Add([]byte("\x00\x3f\xff\xff"))
	f.Add([]byte("\x00\x40\x00\x01"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bytes.NewReader(stream)
		for {
			before := r.Len()
			m, err := wire.Read(r)
			switch {
			case err == nil && m != nil:
				if size := before - r.Len() - frameHeader; size < 1 || size > wire.MaxMessage {
					t.Fatalf("%+v from %d bytes", m, size)
				}
				continue
			case err == io.EOF: //nolint:errorlint // is it exactly this one
				if before != 0 {
					t.Fatalf("EOF with %d bytes left", before)
				}
			case err == io.ErrUnexpectedEOF: //nolint:errorlint // is it exactly this one
				if before == 0 || r.Len() != 0 {
					t.Fatalf("unexpected EOF at %d of %d bytes", before-r.Len(), before)
				}
			case !errors.Is(err, wire.ErrMalformed) && !errors.Is(err, wire.ErrMessageTooLong):
				t.Fatalf("Read = %+v, %v, want %v or %v", m, err, wire.ErrMalformed, wire.ErrMessageTooLong)
			}
			return
		}
	})
}

// FuzzReadPreface: the outcome is one of those that are promised, and nothing
// behind the line is taken.
func FuzzReadPreface(f *testing.F) {
	f.Add(readGolden(f, "preface").bytes)
	f.Add(readGolden(f, "error-line").bytes)
	f.Add([]byte(wire.Preface + "\x00\x01\x00\x01\x00\x00\x00\x01"))
	f.Add([]byte(`{"type":"exec","argv":["ls"],"env":{"A":"b"}}` + "\n"))
	f.Add([]byte(padded(wire.MaxPreface)))
	f.Add([]byte("SSH-2.0-OpenSSH_9.6\r\n"))
	f.Fuzz(func(t *testing.T, input []byte) {
		r := bufio.NewReaderSize(bytes.NewReader(input), wire.MaxPreface)
		err := wire.ReadPreface(r)
		end := bytes.IndexByte(input, '\n')
		protocol, isProtocol := errors.AsType[*wire.ProtocolError](err)
		switch {
		case len(input) == 0:
			mustBe(t, err, io.EOF)
		case end < 0 && len(input) < wire.MaxPreface:
			mustBe(t, err, io.ErrUnexpectedEOF)
		case end < 0 || end >= wire.MaxPreface:
			mustBe(t, err, wire.ErrPrefaceTooLong)
		case isProtocol:
			if protocol.Type == "" || protocol.Type == "cocoon-agent/2" {
				t.Fatalf("protocol %q refused", protocol.Type)
			}
		case err != nil:
			mustBe(t, err, wire.ErrPrefaceInvalid)
		case !json.Valid(input[:end]) || !strings.Contains(string(input[:end]), "2"):
			t.Fatalf("taken for a preface: %q", input[:end])
		}
		if end < 0 || end >= wire.MaxPreface {
			return
		}
		if rest, err := io.ReadAll(r); err != nil || !bytes.Equal(rest, input[end+1:]) {
			t.Fatalf("what is left is %q, %v; want %q", rest, err, input[end+1:])
		}
	})
}

func mustBe(t *testing.T, err, want error) {
	t.Helper()
	if err != want { //nolint:errorlint // is it exactly this one
		t.Fatalf("%v, want %v", err, want)
	}
}

// FuzzParseRefusal: what a line says can be said again in one line.
func FuzzParseRefusal(f *testing.F) {
	f.Add(readGolden(f, "error-line").bytes)
	f.Add(readGolden(f, "preface").bytes)
	f.Add([]byte(`{"type":"error","message":"x","pid":0,"exit_code":1,"data":null}` + "\r\n"))
	f.Add([]byte(`{"type":"error","message":"\ud800"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		_, message, ok := wire.ParseRefusal(line)
		if !ok {
			if message != "" {
				t.Fatalf("not an error line, and it says %q", message)
			}
			message = string(line) // any text must survive
		} else if !json.Valid(bytes.TrimSpace(line)) || !utf8.ValidString(message) {
			t.Fatalf("%q from %q", message, line)
		}
		again := wire.AppendRefusal(nil, "", message)
		if bytes.IndexByte(again, '\n') != len(again)-1 {
			t.Fatalf("more than a line: %q", again)
		}
		_, got, ok := wire.ParseRefusal(again)
		if want := string([]rune(message)); got != want || !ok { // []rune: what is not UTF-8 is replaced
			t.Fatalf("%q came back as %q, %t", message, got, ok)
		}
	})
}
