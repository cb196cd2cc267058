package files

import (
	"bytes"
	"io"
)

// ServeHere is Serve within the test's process.
func ServeHere(r Request, in io.Reader, out, summary io.Writer) int {
	return serve(r.Args(), in, out, summary)
}

// AppendFrame and DecodeFrame are the codec.
func AppendFrame(f *Frame) []byte { return appendFrame(nil, f) }

func DecodeFrame(kind Kind, body []byte) (*Frame, error) { return decodeFrame(kind, body) }

// Data is a frame of bytes.
func Data(p []byte) []byte {
	var b bytes.Buffer
	w := newWriter(&b)
	_ = w.data(append(make([]byte, headSize), p...))
	_ = w.flush()
	return b.Bytes()
}

// WayTo says where a source comes for a destination in a state, or why it cannot.
func WayTo(path string, state int, f *Frame, o Options) (string, error) {
	w, err := wayTo(path, [...]stateOf{absent, directory, other, orphan}[state], f, &o)
	return [...]string{"into", "named", "merge"}[w], err
}

type stateOf = state

// TempName is the name of a file that is not complete.
func TempName(name string, f *Frame) string { return tempName(name, f) }

// Sizes.
const (
	BlockSize = blockSize
	AskSize   = askSize
	SmallFile = smallFile
)
