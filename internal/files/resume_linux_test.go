package files_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/cocoonstack/cocoon-agent/internal/files"
)

const size = 6 << 20 // of the file that is cut: more than files.AskSize

// cutPush pushes a file, and loses the connection after n bytes.
func cutPush(t *testing.T, from, to string, n int64) {
	t.Helper()
	g := serve(t, files.Request{Op: files.Push, Path: to})
	cut := &cutWriter{to: g.in, left: n}
	_, _, err := files.PushTo(files.Conn{In: cut, Out: g.out}, files.FromPath(from), files.Options{}, files.Events{})
	if err == nil {
		t.Fatal("the push succeeded although it was cut")
	}
	if status := g.close(); status != 1 {
		t.Errorf("the guest's side ended with %d, want 1", status)
	}
}

// A cutWriter loses what comes after some bytes, and the connection.
type cutWriter struct {
	to   *io.PipeWriter
	left int64
}

func (w *cutWriter) Write(p []byte) (int, error) {
	n, err := w.to.Write(p[:min(int64(len(p)), w.left)])
	w.left -= int64(n)
	if err == nil && n < len(p) {
		_ = w.to.Close()
		err = errors.New("cut")
	}
	return n, err
}

// part returns the path of the only file that is not complete.
func part(t *testing.T, dir string) string {
	t.Helper()
	parts, _ := filepath.Glob(dir + "/.~cocoon-*")
	if len(parts) != 1 {
		t.Fatalf("there are the parts %q, want one", parts)
	}
	return parts[0]
}

// pushCounting pushes and returns how many bytes of the file went.
func pushCounting(t *testing.T, from, to string) uint64 {
	t.Helper()
	g := serve(t, files.Request{Op: files.Push, Path: to})
	counted := &countingWriter{to: g.in}
	var failed failures
	if _, _, err := files.PushTo(files.Conn{In: counted, Out: g.out}, files.FromPath(from), files.Options{}, failed.events()); err != nil || len(failed) > 0 {
		t.Fatalf("%v, %q", err, failed)
	}
	return counted.n
}

type countingWriter struct {
	to io.Writer
	n  uint64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	w.n += uint64(n)
	return n, err
}

func TestCutPushGoesOn(t *testing.T) {
	dir := t.TempDir()
	want := pattern(size)
	write(t, dir+"/src", want)
	for n := int64(3 << 20); n < size; n += 777_777 {
		cutPush(t, dir+"/src", dir+"/dst", n)
		part(t, dir)
		if went := pushCounting(t, dir+"/src", dir+"/dst"); went > size-uint64(n)+2*files.BlockSize {
			t.Errorf("after %d bytes %d more went", n, went)
		}
		wantFile(t, dir+"/dst", want)
		wantNoParts(t, dir)
		_ = os.Remove(dir + "/dst")
	}
}

func TestPartsOfOthersAreNotTaken(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, part string) (taken bool){
		"altered": func(t *testing.T, part string) bool {
			f, err := os.OpenFile(part, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt([]byte("altered"), 1<<20+5); err != nil {
				t.Fatal(err)
			}
			return true // up to the first difference
		},
		"longer": func(t *testing.T, part string) bool {
			if err := os.Truncate(part, size+1); err != nil {
				t.Fatal(err)
			}
			return false
		},
		"linked": func(t *testing.T, part string) bool {
			if err := os.Link(part, filepath.Dir(part)+"/other"); err != nil {
				t.Fatal(err)
			}
			return false
		},
		"readable": func(t *testing.T, part string) bool {
			if err := os.Chmod(part, 0o644); err != nil {
				t.Fatal(err)
			}
			return false
		},
		"foreign": func(t *testing.T, part string) bool {
			if err := os.Chown(part, 12345, 12345); err != nil {
				t.Skip("only root gives files away")
			}
			return false
		},
		"a link": func(t *testing.T, part string) bool {
			if err := errors.Join(os.Rename(part, filepath.Dir(part)+"/other"), os.Symlink("other", part)); err != nil {
				t.Fatal(err)
			}
			return false
		},
		"a fifo": func(t *testing.T, part string) bool {
			if err := errors.Join(os.Remove(part), syscall.Mkfifo(part, 0o600)); err != nil {
				t.Fatal(err)
			}
			return false
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			want := pattern(size)
			write(t, dir+"/src", want)
			cutPush(t, dir+"/src", dir+"/dst", 4<<20)
			left := part(t, dir)
			taken := change(t, left)
			went := pushCounting(t, dir+"/src", dir+"/dst")
			wantFile(t, dir+"/dst", want)
			if taken != (went < size) {
				t.Errorf("%d of %d bytes went, want the part taken: %v", went, size, taken)
			}
			if _, err := os.Lstat(left); (err == nil) == taken {
				t.Errorf("the part: %v, want it used: %v", err, taken)
			}
			if i, err := os.Stat(dir + "/other"); err == nil && i.Size() == size {
				t.Error("another file was written")
			}
		})
	}
}

func TestCutPullIsKeptAndNamed(t *testing.T) {
	dir := t.TempDir()
	want := pattern(size)
	write(t, dir+"/src/file", want)
	g := serve(t, files.Request{Op: files.Pull, Path: dir + "/src"})
	_, kept, err := files.PullTo(files.Conn{In: g.in, Out: io.LimitReader(iotest.HalfReader(g.out), 3<<20)}, dir+"/src", dir+"/dst", files.Options{}, files.Events{})
	if err == nil || !strings.HasPrefix(kept, "dst/.~cocoon-") {
		t.Fatalf("kept %q, %v; want a part", kept, err)
	}
	if _, err := os.Stat(dir + "/" + kept); err != nil {
		t.Error(err)
	}
	g.close()
	if failed, err := pull(t, dir+"/src/.", dir+"/dst", files.Options{}); err != nil || len(failed) > 0 {
		t.Fatalf("%v, %q", err, failed)
	}
	wantFile(t, dir+"/dst/file", want)
	wantNoParts(t, dir+"/dst")
}

func TestCutSmallFilesAreNotKept(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/src", pattern(files.SmallFile*2))
	for n := int64(10); n < files.SmallFile*2; n += files.SmallFile / 2 {
		cutPush(t, dir+"/src", dir+"/dst", n)
	}
	if all, _ := os.ReadDir(dir); len(all) != 1 {
		t.Errorf("there is %v, want the source only", all)
	}
}

func TestSparseFilesGoOn(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/src", pattern(1<<20))
	if err := os.Truncate(dir+"/src", 7<<20); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(dir+"/src", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.Write(pattern(2 << 20))
	_ = f.Close()
	want, _ := os.ReadFile(dir + "/src")
	cutPush(t, dir+"/src", dir+"/dst", 2<<20)
	part(t, dir)
	if went := pushCounting(t, dir+"/src", dir+"/dst"); went > 2<<20+1000 {
		t.Errorf("%d bytes went", went)
	}
	wantFile(t, dir+"/dst", want)
	if i, _ := os.Stat(dir + "/dst"); i.Sys().(*syscall.Stat_t).Blocks*512 > 5<<20 {
		t.Error("the hole was filled")
	}
	if !bytes.Equal(want[1<<20:7<<20], make([]byte, 6<<20)) {
		t.Error("the test's file has no hole")
	}
}
