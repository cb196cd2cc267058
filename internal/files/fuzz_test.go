package files_test

import (
	"bytes"
	"io"
	"os"
	"reflect"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/files"
)

func FuzzDecodeFrame(f *testing.F) {
	for _, frame := range []*files.Frame{
		top, file("f", 1),
		{Kind: files.KindOptions, Mode: 0o755, Options: files.Options{Several: true, Replace: true}},
		{Kind: files.KindEntry, Name: "n", Type: files.KindDir, Sec: -1, Nsec: 999999999, UID: 1, GID: 1 << 31},
		{Kind: files.KindHave, Hashes: "12345678"},
		{Kind: files.KindDir, Name: "d", Attrs: "\x06user.a\x01b\x06user.b\x00"},
		{Kind: files.KindSpecial, Name: "n", Type: 'b', Major: 1, Minor: 1 << 19},
		{Kind: files.KindEnd, Hash: 1, SHA256: "12345678901234567890123456789012"},
		{Kind: files.KindError, Path: "p\xff", Text: "e", Code: 3, Skipped: true},
	} {
		b := files.AppendFrame(frame)
		f.Add(b[0], b[5:])
	}
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		decoded, err := files.DecodeFrame(files.Kind(kind), body)
		if err != nil {
			return
		}
		again := files.AppendFrame(decoded)
		if twice, err := files.DecodeFrame(files.Kind(again[0]), again[5:]); err != nil || !reflect.DeepEqual(decoded, twice) {
			t.Errorf("DecodeFrame(AppendFrame(%+v)) = %+v, %v", decoded, twice, err)
		}
	})
}

// A sender may send anything: nothing is made outside the destination.
func FuzzReceive(f *testing.F) {
	for _, stream := range hostile() {
		if len(stream) < 1<<12 {
			f.Add(stream)
		}
	}
	f.Add(frames(top, file("f", 3), data("abc"), end, up, done))
	attributes, fifo := *top, files.Frame{Kind: files.KindSpecial, Name: "n", Type: 'p'}
	attributes.Attrs = "\x06user.a\x01b"
	f.Add(frames(&attributes, &fifo, up, done))
	f.Fuzz(func(t *testing.T, stream []byte) {
		dir := t.TempDir()
		o := files.Options{XAttrs: len(stream)%2 == 0, Special: len(stream)%3 == 0, SHA256: len(stream)%5 == 0}
		_, _, _ = files.PullTo(files.Conn{In: io.Discard, Out: bytes.NewReader(stream)}, "top", dir+"/dst", o, files.Events{})
		all, err := os.ReadDir(dir)
		if err != nil || len(all) > 1 {
			t.Errorf("there is more than the destination: %v, %v", all, err)
		}
		_, _ = files.PullTar(files.Conn{In: io.Discard, Out: bytes.NewReader(stream)}, "top", io.Discard, files.Options{}, files.Events{})
	})
}

// A guest may answer anything, and so may a host.
func FuzzServe(f *testing.F) {
	for _, op := range files.Ops() {
		f.Add(string(op), frames(&files.Frame{Kind: files.KindOptions}, top, up, done))
	}
	f.Fuzz(func(t *testing.T, op string, stream []byte) {
		dir := t.TempDir()
		write(t, dir+"/src/f", []byte("x"))
		var summary bytes.Buffer
		r := files.Request{Op: files.Op(op), Path: dir + "/src", To: dir + "/to"}
		files.ServeHere(r, bytes.NewReader(stream), io.Discard, &summary)
		_, _, _ = files.PushTo(files.Conn{In: io.Discard, Out: bytes.NewReader(stream)}, files.FromPath(dir), files.Options{}, files.Events{})
		_ = files.Entries(files.Conn{In: io.Discard, Out: bytes.NewReader(stream)}, files.Options{}, 0, func(*files.Frame) error { return nil })
		if c, err := files.OpenFrom(files.Conn{In: io.Discard, Out: bytes.NewReader(stream)}); err == nil {
			_, _ = io.CopyN(io.Discard, c, 1<<20)
		}
	})
}
