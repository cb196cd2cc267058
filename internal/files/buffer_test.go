package files_test

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"github.com/cocoonstack/cocoon-agent/internal/files"
)

// TestFramesArriveInAnyPieces cuts the frames of a file of many frames.
func TestFramesArriveInAnyPieces(t *testing.T) {
	content := pattern(3*files.MaxData + 100)
	var sent bytes.Buffer
	c := files.Conn{In: &sent, Out: bytes.NewReader(frames(done))}
	from := files.FromReader("f", bytes.NewReader(content), int64(len(content)), 0o644, then)
	if _, _, err := files.PushTo(c, from, files.Options{}, files.Events{}); err != nil {
		t.Fatal(err)
	}
	_, stream, _ := bytes.Cut(sent.Bytes(), frames(&files.Frame{Kind: files.KindOptions}))
	for name, cut := range map[string]func(io.Reader) io.Reader{
		"one byte": iotest.OneByteReader, "half": iotest.HalfReader, "the end with the last": iotest.DataErrReader,
		"whole": func(r io.Reader) io.Reader { return r },
	} {
		dir := t.TempDir()
		c := files.Conn{In: io.Discard, Out: cut(bytes.NewReader(stream))}
		if _, _, err := files.PullTo(c, "f", dir+"/f", files.Options{}, files.Events{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantFile(t, dir+"/f", content)
	}
}
