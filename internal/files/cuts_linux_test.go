package files_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/files"
)

const maxCuts = 50

// cutPull pulls, and loses the connection after n bytes. It reports whether it was complete before.
func cutPull(t *testing.T, from, to string, n int64) (complete bool) {
	t.Helper()
	g := serve(t, files.Request{Op: files.Pull, Path: from})
	c := files.Conn{In: g.in, Out: io.LimitReader(g.out, n)}
	_, _, err := files.PullTo(c, from, to, files.Options{}, files.Events{})
	g.close()
	return err == nil
}

// TestCutsLoseNothing cuts copies of a tree at random points, some of them within what was there
// before the last cut, until one of them is complete.
func TestCutsLoseNothing(t *testing.T) {
	for name, attempt := range map[string]func(t *testing.T, from, to string, n int64) bool{
		"pull": cutPull,
		"push": func(t *testing.T, from, to string, n int64) bool {
			t.Helper()
			g := serve(t, files.Request{Op: files.Push, Path: to})
			_, _, err := files.PushTo(files.Conn{In: &cutWriter{to: g.in, left: n}, Out: g.out}, files.FromPath(from), files.Options{}, files.Events{})
			g.close()
			return err == nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			big, small := pattern(40<<20+12345), pattern(30_000)
			write(t, dir+"/src/big", big)
			write(t, dir+"/src/sub/small", small)
			random := rand.New(rand.NewPCG(1, 2))
			cuts := 0
			for !attempt(t, dir+"/src/.", dir+"/dst", 1+random.Int64N(3<<20)) {
				cuts++
				if cuts > maxCuts {
					t.Fatalf("not complete after %d cuts", cuts)
				}
				if got, err := os.ReadFile(dir + "/dst/big"); err == nil && !bytes.Equal(got, big) {
					t.Fatalf("after %d cuts there is a file that is not whole: %d bytes", cuts, len(got))
				}
			}
			if cuts < 10 {
				t.Errorf("complete after %d cuts, want at least 10", cuts)
			}
			wantFile(t, dir+"/dst/big", big)
			wantFile(t, dir+"/dst/sub/small", small)
			wantNoParts(t, dir+"/dst")
		})
	}
}

func TestPushEndsThoughItsSourceBlocks(t *testing.T) {
	dir := t.TempDir()
	g := serve(t, files.Request{Op: files.Push, Path: dir})
	source, writer := io.Pipe()
	t.Cleanup(func() { _ = writer.Close() })
	begun := make(chan struct{})
	go func() {
		_, _ = writer.Write([]byte{0}) // the first byte of a tar stream
		close(begun)
	}()
	go func() {
		<-begun
		_ = g.in.Close()
	}()
	if _, _, err := files.PushTo(g.Conn, files.FromTar(source), files.Options{Several: true}, files.Events{}); err == nil {
		t.Error("a push whose source does not end has succeeded")
	}
}

func TestEmptySizesDoNotHideContent(t *testing.T) {
	for name, do := range ways {
		t.Run(name, func(t *testing.T) {
			to := t.TempDir() + "/dst"
			failed, err := do(t, "/proc/self/status", to, files.Options{})
			if err != nil || len(failed) != 1 {
				t.Errorf("%v, %q; want one entry that failed", err, failed)
			}
			if _, err := os.Stat(to); err == nil {
				t.Error("an empty file was made of one with content")
			}
		})
	}
}
