package mux_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
)

// A script is a connection whose peer says what it has to say, and hangs up. It
// takes every byte.
type script struct{ *bytes.Reader }

func (script) Write(p []byte) (int, error) { return len(p), nil }

func (script) Close() error { return nil }

// FuzzFrames has either side take anything for frames. It must come to the end
// of them, keep no more than it may, and say that the connection is lost.
func FuzzFrames(f *testing.F) {
	frame := func(kind uint8, flags uint16, stream, length uint32, body string) []byte {
		b, err := binary.Append(nil, binary.BigEndian, yamuxFrame{0, kind, flags, stream, length})
		if err != nil {
			f.Fatal(err)
		}
		return append(b, body...)
	}
	syn := frame(yamuxWindowUpdate, yamuxSYN, 1, 0, "")
	for _, seed := range [][]byte{
		{},
		syn, append(bytes.Clone(syn), frame(yamuxData, 0, 1, 5, "hello")...),
		bytes.Join([][]byte{syn, frame(yamuxWindowUpdate, yamuxSYN, 3, 1<<20, ""), frame(yamuxData, yamuxFIN, 3, 3, "end")}, nil),
		bytes.Join([][]byte{syn, frame(yamuxWindowUpdate, yamuxRST, 1, 0, ""), frame(yamuxPing, yamuxSYN, 0, 7, "")}, nil),
		frame(yamuxGoAway, 0, 0, 2, ""), frame(yamuxData, yamuxSYN, 1, 1<<32-1, "x"), frame(9, 0, 0, 0, ""),
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, said []byte, asAgent bool) {
		conn := script{bytes.NewReader(said)}
		var s *mux.Session
		var control *mux.Stream
		if asAgent {
			s = mux.Server(conn)
			control, _ = s.Control(t.Context())
		} else {
			var err error
			if s, control, err = mux.Client(conn, ""); err != nil && !errors.Is(err, mux.ErrLost) {
				t.Fatal(err)
			}
		}
		if control != nil {
			if n, err := io.Copy(io.Discard, control); n > int64(len(said)) || err != nil && !errors.Is(err, mux.ErrLost) {
				t.Fatalf("read %d of %d bytes, %v", n, len(said), err)
			}
		}
		if s == nil {
			return
		}
		<-s.Done()
		if err := s.Err(); !errors.Is(err, mux.ErrLost) {
			t.Fatal(err)
		}
		_ = s.Close()
	})
}
