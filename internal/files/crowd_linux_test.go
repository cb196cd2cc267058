package files_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/files"
)

// TestCopiesToOnePlace has several copies make the same tree at once. Each file is that of one of them.
func TestCopiesToOnePlace(t *testing.T) {
	const copies, entries = 4, 100
	dir := t.TempDir()
	content := func(i, of int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, of) }
	for i := range copies {
		for j := range entries {
			write(t, fmt.Sprintf("%s/src%d/tree/d%d/f%d", dir, i, j%3, j), content(i, 1000))
		}
		write(t, fmt.Sprintf("%s/src%d/tree/big", dir, i), content(i, 5<<20))
	}
	if err := os.Mkdir(dir+"/dst", 0o755); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range copies {
		all.Go(func() {
			if failed, err := push(t, fmt.Sprintf("%s/src%d/tree", dir, i), dir+"/dst", files.Options{}); err != nil || len(failed) > 0 {
				t.Errorf("copy %d: %v, %q", i, err, failed)
			}
		})
	}
	all.Wait()
	made := 0
	err := filepath.WalkDir(dir+"/dst", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		made++
		got, err := os.ReadFile(path)
		if err == nil && (len(got) != 1000 && len(got) != 5<<20 || !bytes.Equal(got, bytes.Repeat(got[:1], len(got)))) {
			t.Errorf("%s has %d bytes, which no copy has made", path, len(got))
		}
		return err
	})
	if err != nil || made != entries+1 {
		t.Errorf("%d files were made, %v; want %d", made, err, entries+1)
	}
}

// TestDeepTreesHarmNothingElse copies a tree that is deeper than the bound, beside a file.
func TestDeepTreesHarmNothingElse(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 4*files.MaxDepth {
		t.Skipf("%d descriptors are too few for both sides, want %d", limit.Cur, 4*files.MaxDepth)
	}
	for name, do := range ways {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir+"/src/beside", []byte("beside"))
			at, err := os.OpenRoot(dir + "/src")
			if err != nil {
				t.Fatal(err)
			}
			for range files.MaxDepth + 10 {
				next := deeper(t, at)
				_ = at.Close()
				at = next
			}
			_ = at.Close()
			failed, err := do(t, dir+"/src", dir+"/dst", files.Options{})
			if err != nil || len(failed) != 1 || !strings.HasSuffix(failed[0], "more than 4096 directories within one another") {
				t.Errorf("%v, %d failed: %.300q; want one entry that is too deep", err, len(failed), failed)
			}
			wantFile(t, dir+"/dst/beside", []byte("beside"))
		})
	}
}

func deeper(t *testing.T, at *os.Root) *os.Root {
	t.Helper()
	if err := at.Mkdir("d", 0o755); err != nil {
		t.Fatal(err)
	}
	next, err := at.OpenRoot("d")
	if err != nil {
		t.Fatal(err)
	}
	return next
}
