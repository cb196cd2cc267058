package files_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/files"
)

// sums are what both ends say of each file.
type sums map[string][32]byte

func (s sums) events() files.Events {
	return files.Events{Summed: func(path string, sum [32]byte) { s[path] = sum }}
}

func TestSHA256IsThatOfTheContent(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/src/small", []byte("small"))
	write(t, dir+"/src/sub/large", pattern(files.AskSize+1))
	if err := os.Truncate(dir+"/src/sub/large", files.AskSize+3<<20); err != nil { // a hole
		t.Fatal(err)
	}
	if err := os.Link(dir+"/src/small", dir+"/src/sub/second"); err != nil {
		t.Fatal(err)
	}
	o := files.Options{SHA256: true}
	pushed, pulled := make(sums), make(sums)
	g := serve(t, files.Request{Op: files.Push, Path: dir + "/to"})
	if _, _, err := files.PushTo(g.Conn, files.FromPath(dir+"/src"), o, pushed.events()); err != nil {
		t.Fatal(err)
	}
	g = serve(t, files.Request{Op: files.Pull, Path: dir + "/to"})
	if _, _, err := files.PullTo(g.Conn, dir+"/to", dir+"/src2", o, pulled.events()); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]sums{"src": pushed, "src2": pulled} {
		if len(s) != 2 {
			t.Errorf("%s has %d sums, want 2", name, len(s))
		}
		for path, got := range s {
			data, err := os.ReadFile(dir + "/" + path)
			if want := sha256.Sum256(data); err != nil || got != want || !strings.HasPrefix(path, name+"/") {
				t.Errorf("%s has the sum %x, want %x, %v", path, got, want, err)
			}
		}
	}
}

// TestSHA256CoversWhatWasThere goes on with a part.
func TestSHA256CoversWhatWasThere(t *testing.T) {
	dir := t.TempDir()
	want := pattern(size)
	write(t, dir+"/src", want)
	cutPush(t, dir+"/src", dir+"/dst", 4<<20)
	part(t, dir)
	got := make(sums)
	g := serve(t, files.Request{Op: files.Push, Path: dir + "/dst"})
	counted := &countingWriter{to: g.in}
	c := files.Conn{In: counted, Out: g.out}
	if _, _, err := files.PushTo(c, files.FromPath(dir+"/src"), files.Options{SHA256: true}, got.events()); err != nil {
		t.Fatal(err)
	}
	if got["src"] != sha256.Sum256(want) || counted.n > 4<<20 {
		t.Errorf("the sum is %x after %d bytes, want %x after less than 4 MiB", got["src"], counted.n, sha256.Sum256(want))
	}
	wantFile(t, dir+"/dst", want)
}

func TestWrongSHA256IsNotKept(t *testing.T) {
	hash := uint64(0xef46db3751d8e999) // XXH64 of nothing
	for name, sum := range map[string]string{"none": "", "another": strings.Repeat("x", 32)} {
		dir := t.TempDir()
		var failed failures
		stream := frames(file("f", 0), &files.Frame{Kind: files.KindEnd, Hash: hash, SHA256: sum}, done)
		c := files.Conn{In: io.Discard, Out: bytes.NewReader(stream)}
		if _, _, err := files.PullTo(c, "f", dir+"/f", files.Options{SHA256: true}, failed.events()); err != nil {
			t.Fatal(err)
		}
		if all, _ := os.ReadDir(dir); len(all) != 0 || len(failed) != 1 || !strings.Contains(failed[0], "damaged") {
			t.Errorf("%s: failed %q, and there is %v", name, failed, all)
		}
	}
}

func TestProgressExpectsTheBytesOfOneFile(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/src", pattern(1<<20))
	f, err := os.OpenFile(dir+"/src", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(pattern(1<<20), 5<<20); err != nil { // after a hole
		t.Fatal(err)
	}
	_ = f.Close()
	var last files.Counts
	e := files.Events{Progress: func(c files.Counts) { last = c }}
	g := serve(t, files.Request{Op: files.Push, Path: dir + "/to"})
	if _, _, err := files.PushTo(g.Conn, files.FromPath(dir+"/src"), files.Options{}, e); err != nil || last.Expected != last.Bytes || last.Bytes == 0 {
		t.Errorf("a push ended with %+v, %v", last, err)
	}
	g, last = serve(t, files.Request{Op: files.Pull, Path: dir + "/to"}), files.Counts{}
	if _, _, err := files.PullTo(g.Conn, dir+"/to", dir+"/back", files.Options{}, e); err != nil || last.Expected != last.Bytes || last.Bytes == 0 {
		t.Errorf("a pull ended with %+v, %v", last, err)
	}
}
