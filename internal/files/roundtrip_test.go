package files_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/files"
)

// TestCopyComesBackAsItWas copies a tree there and back, on each system that a host has. The second
// time it replaces what is there.
func TestCopyComesBackAsItWas(t *testing.T) {
	dir := t.TempDir()
	want := map[string][]byte{
		"empty": nil, "small": []byte("small"), "name of spaces": []byte("n"),
		"sub/deep/large": pattern(files.SmallFile + 1), "sub/asked": pattern(files.AskSize + 1),
	}
	for name, content := range want {
		write(t, filepath.Join(dir, "src", name), content)
		if err := os.Chtimes(filepath.Join(dir, "src", name), then, then); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		failed, err := push(t, filepath.Join(dir, "src")+"/.", filepath.Join(dir, "there"), files.Options{})
		if err != nil || len(failed) > 0 {
			t.Fatalf("there: %v, %q", err, failed)
		}
		failed, err = pull(t, filepath.Join(dir, "there")+"/.", filepath.Join(dir, "back"), files.Options{SHA256: true})
		if err != nil || len(failed) > 0 {
			t.Fatalf("back: %v, %q", err, failed)
		}
	}
	for name, content := range want {
		for _, to := range []string{"there", "back"} {
			path := filepath.Join(dir, to, name)
			wantFile(t, path, content)
			// Windows has times of 100 ns.
			if i, err := os.Stat(path); err != nil || then.Sub(i.ModTime()).Abs() >= 100 {
				t.Errorf("%s: %v, %v; want the time %v", path, i.ModTime(), err, then)
			}
		}
	}
	wantNoParts(t, filepath.Join(dir, "there"))
}
