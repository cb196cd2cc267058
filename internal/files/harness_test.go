package files_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/files"
)

// A guest is the guest's side in this process, at the other end of two pipes.
type guest struct {
	files.Conn
	in      *io.PipeWriter
	out     *io.PipeReader
	status  chan int
	summary bytes.Buffer
}

// serve starts the guest's side. The end of the test waits for it.
func serve(t *testing.T, r files.Request) *guest {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	g := &guest{Conn: files.Conn{In: inW, Out: outR}, in: inW, out: outR, status: make(chan int, 1)}
	go func() {
		g.status <- files.ServeHere(r, inR, outW, &g.summary)
		_, _ = inR.Close(), outW.Close()
	}()
	t.Cleanup(func() { g.close() })
	return g
}

// close ends the guest's side and returns its exit status.
func (g *guest) close() int {
	_, _ = g.in.Close(), g.out.Close()
	status := <-g.status
	g.status <- status
	return status
}

// A failures collects the entries that were not copied.
type failures []string

func (f *failures) events() files.Events {
	return files.Events{Failed: func(e *files.EntryError) { *f = append(*f, e.Error()) }}
}

func push(t *testing.T, from, to string, o files.Options) (failures, error) {
	t.Helper()
	var f failures
	g := serve(t, files.Request{Op: files.Push, Path: to})
	_, _, err := files.PushTo(g.Conn, files.FromPath(from), o, f.events())
	g.close()
	return f, err
}

func pull(t *testing.T, from, to string, o files.Options) (failures, error) {
	t.Helper()
	var f failures
	g := serve(t, files.Request{Op: files.Pull, Path: from})
	_, _, err := files.PullTo(g.Conn, from, to, o, f.events())
	g.close()
	return f, err
}

// then is a time to the nanosecond.
var then = time.Unix(1234567890, 123456789)

// ways are both directions of a copy.
var ways = map[string]func(t *testing.T, from, to string, o files.Options) (failures, error){"push": push, "pull": pull}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func wantFile(t *testing.T, path string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("ReadFile(%s) returned %d bytes, %v; want %d", path, len(got), err, len(want))
	}
}

// pattern returns n bytes that are not the same anywhere.
func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// wantNoParts fails if there are files that are not complete.
func wantNoParts(t *testing.T, dir string) {
	t.Helper()
	if parts, _ := filepath.Glob(dir + "/.~cocoon-*"); len(parts) > 0 {
		t.Errorf("there are parts of files: %q", parts)
	}
}
