package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func framed(tb testing.TB, messages ...wire.Message) []byte {
	tb.Helper()
	var frames []byte
	for _, m := range messages {
		var err error
		if frames, err = wire.Append(frames, m); err != nil {
			tb.Fatal(err)
		}
	}
	return frames
}

func TestReaderSkipsTooLongMessages(t *testing.T) {
	noRoom := errors.New("no room")
	for name, r := range map[string]wire.Reader{
		"by its size":    {Max: 100},
		"by Hold's word": {Hold: func(size int) error { return map[bool]error{true: noRoom}[size > 100] }},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{100, 5000, 1 << 20} {
				r.R = bytes.NewReader(framed(t,
					&wire.Exec{Head: wire.Head{ID: 7}, Argv: []string{strings.Repeat("x", size)}},
					&wire.Ping{Head: wire.Head{ID: 8}}))
				m, _, err := r.Read()
				long, ok := m.(*wire.TooLong)
				if err != nil || !ok || long.Type != wire.TypeExec || long.ID != 7 || long.Err == nil {
					t.Fatalf("Reader.Read = %+v, %v, want a TooLong of exec 7", m, err)
				}
				m, n, err := r.Read()
				if p, ok := m.(*wire.Ping); err != nil || !ok || p.ID != 8 || n == 0 {
					t.Fatalf("what is behind it: %+v of %d bytes, %v", m, n, err)
				}
			}
		})
	}
}

func TestReaderFailsIfATooLongMessageHidesItsID(t *testing.T) {
	for name, body := range map[string]string{
		"none":                 "\x81\xa4type\xa4exec",
		"behind another field": "\x83\xa4argv\x90\xa4type\xa4exec\xa2id\x07",
		"no map":               "\x93abc",
		"nothing":              "",
	} {
		frame := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
		r := wire.Reader{R: strings.NewReader(string(frame) + body), Hold: func(int) error { return errors.New("no room") }}
		if m, _, err := r.Read(); m != nil || err == nil || err.Error() != "no room" {
			t.Errorf("Reader.Read(%s) = %+v, %v, want the error of Hold", name, m, err)
		}
	}
}

func TestReaderTellsACutFromTheEnd(t *testing.T) {
	frame := framed(t, &wire.Exec{Head: wire.Head{ID: 7}, Argv: []string{strings.Repeat("x", 6000)}})
	for n := range frame {
		r := wire.Reader{R: bytes.NewReader(frame[:n]), Max: 100}
		_, _, err := r.Read()
		if want := map[bool]error{true: io.EOF, false: io.ErrUnexpectedEOF}[n == 0]; !errors.Is(err, want) {
			t.Fatalf("cut after %d bytes: %v, want %v", n, err, want)
		}
	}
}
