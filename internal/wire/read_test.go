package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/cocoonstack/cocoon-agent/internal/loadtest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func TestReadCutAtEveryByte(t *testing.T) {
	readers := map[string]func(io.Reader) io.Reader{
		"whole":               func(r io.Reader) io.Reader { return r },
		"byte by byte":        iotest.OneByteReader,
		"end with the data":   iotest.DataErrReader,
		"halves, end as data": func(r io.Reader) io.Reader { return iotest.DataErrReader(iotest.HalfReader(r)) },
	}
	for _, g := range goldenMessages() {
		framed := goldenFrame(t, g)
		for n := range framed {
			want := io.ErrUnexpectedEOF
			if n == 0 {
				want = io.EOF
			}
			for name, wrap := range readers {
				m, err := wire.Read(wrap(bytes.NewReader(framed[:n])))
				if err != want || m != nil { //nolint:errorlint // is it exactly this one
					t.Fatalf("%s cut after %d bytes, read %s: %v, %v; want %v", g.name, n, name, m, err, want)
				}
			}
		}
	}
}

func TestReadTakesOneMessageAndNoByteMore(t *testing.T) {
	var stream []byte
	for _, g := range goldenMessages() {
		stream = append(stream, goldenFrame(t, g)...)
	}
	for name, r := range map[string]io.Reader{
		"whole":             bytes.NewReader(stream),
		"byte by byte":      iotest.OneByteReader(bytes.NewReader(stream)),
		"end with the data": iotest.DataErrReader(bytes.NewReader(stream)),
	} {
		for _, g := range goldenMessages() {
			got, err := wire.Read(r)
			if err != nil {
				t.Fatalf("%s, read %s: %v", g.name, name, err)
			}
			goldenFrame(t, g) // fills in the type
			if diff := cmp.Diff(encode(t, g.message), encode(t, got)); diff != "" {
				t.Errorf("%s, read %s (-want +got)\n%s", g.name, name, diff)
			}
		}
		if m, err := wire.Read(r); err != io.EOF { //nolint:errorlint // is it exactly this one
			t.Errorf("read %s, behind the last message: %v, %v", name, m, err)
		}
	}
}

func TestReadRefusesALengthThatIsTooLong(t *testing.T) {
	for _, length := range []uint32{wire.MaxMessage + 1, 1 << 24, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
		// A byte beyond the length would be read from nil, and panic.
		r := io.MultiReader(bytes.NewReader(binary.BigEndian.AppendUint32(nil, length)), struct{ io.Reader }{})
		if m, err := wire.Read(r); !errors.Is(err, wire.ErrMessageTooLong) {
			t.Errorf("length %d: %v, %v", length, m, err)
		}
	}
}

func TestReadRefusesAnEmptyMessage(t *testing.T) {
	if m, err := wire.Read(strings.NewReader("\x00\x00\x00\x00")); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("Read(length 0) = %v, %v, want %v", m, err, wire.ErrMalformed)
	}
}

func TestReadReturnsTheReadersOwnErrors(t *testing.T) {
	broken := errors.New("broken")
	framed := frame(t, &wire.Exec{Argv: []string{"true"}})
	for n := range framed {
		r := io.MultiReader(bytes.NewReader(framed[:n]), iotest.ErrReader(broken))
		if m, err := wire.Read(r); !errors.Is(err, broken) {
			t.Errorf("broken after %d bytes: %v, %v", n, m, err)
		}
	}
}

// largest returns an Error whose body is MaxMessage bytes and extra.
func largest(extra int) *wire.Error {
	const fixed = len("\x83\xa4type\xa5error\xa4kind\xa0\xa7message\xdb\x00\x00\x00\x00")
	return &wire.Error{Message: strings.Repeat("m", wire.MaxMessage-fixed+extra)}
}

func TestAMessageOfTheLargestSizeIsWrittenAndRead(t *testing.T) {
	framed := frame(t, largest(0))
	if len(framed) != frameHeader+wire.MaxMessage {
		t.Fatalf("frame of %d bytes, want %d", len(framed), frameHeader+wire.MaxMessage)
	}
	for name, r := range map[string]io.Reader{
		"whole":        bytes.NewReader(framed),
		"in halves":    iotest.HalfReader(bytes.NewReader(framed)),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(framed)),
	} {
		m, err := wire.Read(r)
		if err != nil {
			t.Errorf("Read of a message that comes as %s = %v", name, err)
		} else if got, ok := m.(*wire.Error); !ok || got.Message != largest(0).Message {
			t.Errorf("%s: another message came back", name)
		}
	}
}

func TestAppendKeepsDstIfTheMessageIsTooLong(t *testing.T) {
	for _, room := range []int{0, 10 << 20} {
		dst := append(make([]byte, 0, 6+room), "before"...)
		got, err := wire.Append(dst, largest(1))
		if !errors.Is(err, wire.ErrMessageTooLong) || string(got) != "before" {
			t.Errorf("Append(%.20q, too long) = %.20q, %v, want %q, %v", dst, got, err, "before", wire.ErrMessageTooLong)
		}
	}
}

func TestAppendAppends(t *testing.T) {
	ping := &wire.Ping{Head: head(1)}
	b, err := wire.Append([]byte("before"), ping)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = wire.Append(b, ping); err != nil {
		t.Fatal(err)
	}
	one := string(frame(t, ping))
	if string(b) != "before"+one+one {
		t.Errorf("Append twice = %q, want %q", b, "before"+one+one)
	}
}

// A message that makes the peer close the connection must not leave this side:
// the connection carries other execs.
func TestAppendRejectsWhatReadRejects(t *testing.T) {
	m := &wire.Exec{Argv: make([]string, wire.MaxElements)} // 256 KiB of empty strings
	framed, err := wire.Append(nil, m)
	if err != nil {
		return
	}
	if _, err := wire.Read(bytes.NewReader(framed)); err != nil {
		t.Errorf("Append wrote a frame of %d bytes that Read refuses: %v", len(framed), err)
	}
}

// recorder is a Writer that keeps each write and fails after the first few.
type recorder struct {
	writes []string
	err    error
}

func (r *recorder) Write(p []byte) (int, error) {
	r.writes = append(r.writes, string(p))
	return len(p), r.err
}

func TestWriteWritesAMessageInOneWrite(t *testing.T) {
	var w recorder
	m := &wire.Started{Head: head(1), PID: 1, Handle: handle()}
	if err := wire.Write(&w, m); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{string(frame(t, m))}, w.writes); diff != "" {
		t.Errorf("writes (-want +got)\n%s", diff)
	}
}

func TestWriteReturnsTheWritersOwnErrors(t *testing.T) {
	broken := errors.New("broken")
	err := wire.Write(&recorder{err: broken}, &wire.Ping{})
	if !errors.Is(err, broken) || err.Error() != "write ping: broken" {
		t.Error(err)
	}
}

func TestWriteWritesNothingIfTheMessageIsTooLong(t *testing.T) {
	var w recorder
	if err := wire.Write(&w, largest(1)); !errors.Is(err, wire.ErrMessageTooLong) || len(w.writes) != 0 {
		t.Errorf("Write(too long) = %v after %d writes, want %v after none", err, len(w.writes), wire.ErrMessageTooLong)
	}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	f() // pools and caches fill
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestReadAllocatesByBytesReceivedNotDeclared(t *testing.T) {
	for _, test := range []struct {
		arrive int
		most   uint64
	}{
		{0, 128 << 10},
		{1, 128 << 10},
		{64 << 10, 512 << 10},
		{300 << 10, 2 << 20},
	} {
		framed := make([]byte, frameHeader+test.arrive)
		binary.BigEndian.PutUint32(framed, wire.MaxMessage)
		got := allocated(func() {
			if _, err := wire.Read(bytes.NewReader(framed)); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Error(err)
			}
		})
		if got > test.most {
			t.Errorf("%d bytes of %d arrive: %d bytes allocated, want at most %d", test.arrive, wire.MaxMessage, got, test.most)
		}
	}
}

func TestReadAllocatesAtMost16TimesMaxMessage(t *testing.T) {
	loadtest.Heavy(t)
	for name, body := range map[string]string{
		"one long string":     string(encode(t, largest(0))),
		"many short strings":  "\x82\xa4type\xa4exec\xa4argv" + array32(260_000, "\xa2ab"),
		"many empty strings":  "\x82\xa4type\xa4exec\xa4argv" + array32(wire.MaxElements-6, "\xa0"),
		"many medium strings": "\x82\xa4type\xa4exec\xa4argv" + array32(260_000, "\xaeabcdefghijklmn"),
		"many unknown fields": "\xdf\x00\x01\xff\x00\xa4type\xa4ping" + strings.Repeat("\xa1x\x90", 0x1feff),
		"one field again and again": "\xdf\x00\x01\x00\x00\xa4type\xa4exec" + strings.Repeat("\xa3env\x91\xa0", 0xfff) +
			strings.Repeat("\xa3tty\x80", 0xffff-0xfff),
		"one unknown long string": "\x82\xa4type\xa4ping\xa1x\xdb\x00\x30\x00\x00" + strings.Repeat("x", 0x300000),
		"long keys":               "\x83\xa4type\xa4ping\xdb\x00\x10\x00\x00" + strings.Repeat("x", 0x100000) + "\xc0\xdb\x00\x20\x00\x00" + strings.Repeat("x", 0x200000) + "\xc0",
	} {
		framed := prefixed(body)
		got := allocated(func() {
			if _, err := wire.Read(bytes.NewReader(framed)); err != nil {
				t.Errorf("Read(%s) = %v", name, err)
			}
		})
		if got > 16*wire.MaxMessage {
			t.Errorf("%s: %d bytes of message, %.1f MiB allocated", name, len(body), float64(got)/(1<<20))
		}
		t.Logf("%s: %.1f MiB of message, %.1f MiB allocated", name, float64(len(body))/(1<<20), float64(got)/(1<<20))
	}
}

// array32 is an array of n times the same element.
func array32(n int, element string) string {
	return "\xdd" + string(binary.BigEndian.AppendUint32(nil, uint32(n))) + strings.Repeat(element, n)
}
