package files_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/files"
)

func TestFullDiskKeepsNoParts(t *testing.T) {
	for way, do := range ways {
		for options, length := range map[string]int{"size=1m": 300 << 10, "size=512k,nr_inodes=6": 10} {
			t.Run(way+" "+options, func(t *testing.T) {
				dir, full := t.TempDir(), mount(t, "tmpfs", options)
				for n := range 6 {
					write(t, fmt.Sprintf("%s/src/f%d", dir, n), pattern(length))
				}
				failed, err := do(t, dir+"/src", full, files.Options{})
				if err != nil || len(failed) == 0 {
					t.Fatalf("%v, %q; want some files that found no room", err, failed)
				}
				for _, line := range failed {
					if !strings.HasSuffix(line, "no space left on device") {
						t.Errorf("failed: %q", line)
					}
				}
				wantNoParts(t, full+"/src")
				all, _ := os.ReadDir(full + "/src")
				if len(all)+len(failed) != 6 || len(all) == 0 {
					t.Errorf("%d files are there, %d failed, want 6 together", len(all), len(failed))
				}
				for _, e := range all {
					wantFile(t, full+"/src/"+e.Name(), pattern(length))
				}
			})
		}
	}
}

func TestFullDiskEndsAQuestion(t *testing.T) {
	dir, full := t.TempDir(), mount(t, "tmpfs", "size=1m")
	write(t, dir+"/src", pattern(size))
	failed, err := push(t, dir+"/src", full, files.Options{})
	if err != nil || len(failed) != 1 {
		t.Errorf("%v, %q; want one file that found no room", err, failed)
	}
	if !isEmpty(t, full) {
		t.Error("a part was kept")
	}
}
