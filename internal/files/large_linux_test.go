package files_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/files"
)

// large says how much TestLargeFilesAndManyAreCopied copies: little, or with COCOON_FILES_LARGE what a night has time for.
func large() (holes, data int64, many int) {
	if os.Getenv("COCOON_FILES_LARGE") != "" {
		return 3 << 30, 1 << 30, 20_000
	}
	return 64 << 20, 8 << 20, 500
}

// TestLargeFilesAndManyAreCopied copies a file whose size is beyond 32 bits, if there is time, and many small ones.
func TestLargeFilesAndManyAreCopied(t *testing.T) {
	holes, data, many := large()
	for way, do := range ways {
		t.Run(way, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir+"/src/sparse", pattern(1<<20))
			f, err := os.OpenFile(dir+"/src/sparse", os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			block := pattern(1 << 20)
			for n := range data >> 20 {
				if _, err := f.WriteAt(block, holes+n<<20); err != nil {
					t.Fatal(err)
				}
			}
			_ = f.Close()
			for n := range many {
				write(t, fmt.Sprintf("%s/src/d%d/f%d", dir, n%50, n), block[n:n+1000])
			}
			failed, err := do(t, dir+"/src", dir+"/dst", files.Options{SHA256: true})
			if err != nil || len(failed) > 0 {
				t.Fatalf("%v, %d failed: %.300q", err, len(failed), failed)
			}
			for n := range many {
				wantFile(t, fmt.Sprintf("%s/dst/d%d/f%d", dir, n%50, n), block[n:n+1000])
			}
			i, err := os.Stat(dir + "/dst/sparse")
			if err != nil || i.Size() != holes+data {
				t.Fatalf("the copy is %v, %v; want %d bytes", i, err, holes+data)
			}
			if took := i.Sys().(*syscall.Stat_t).Blocks * 512; took > data+8<<20 {
				t.Errorf("the copy takes %d bytes of the disk, want the holes kept", took)
			}
			wantLast(t, dir+"/dst/sparse", block)
		})
	}
}

// wantLast fails unless a file ends with a block.
func wantLast(t *testing.T, path string, block []byte) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, len(block))
	if _, err = f.Seek(-int64(len(block)), io.SeekEnd); err == nil {
		_, err = io.ReadFull(f, got)
	}
	if err != nil || !bytes.Equal(got, block) {
		t.Errorf("the end of %s is another one, %v", path, err)
	}
}
