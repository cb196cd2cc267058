package files_test

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/files"
)

const (
	none = iota
	directory
	other
	orphan
)

func TestWayToIsThatOfCp(t *testing.T) {
	file, dir := &files.Frame{Kind: files.KindFile}, &files.Frame{Kind: files.KindDir}
	content := &files.Frame{Kind: files.KindDir, Content: true}
	several := files.Options{Several: true}
	for _, test := range []struct {
		name  string
		path  string
		state int
		frame *files.Frame
		o     files.Options
		want  string // empty: an error
	}{
		{"dir to a directory", "dst", directory, dir, files.Options{}, "into"},
		{"dir/. to a directory", "dst", directory, content, files.Options{}, "merge"},
		{"dir to a new name", "dst", none, dir, files.Options{}, "named"},
		{"dir to new/", "dst/", none, dir, files.Options{}, "named"},
		{"dir/. to a new name", "dst", none, content, files.Options{}, "named"},
		{"dir to a file", "dst", other, dir, files.Options{}, ""},
		{"dir, no parent", "no/dst", orphan, dir, files.Options{}, ""},
		{"file to a directory", "dst", directory, file, files.Options{}, "into"},
		{"file to a new name", "dst", none, file, files.Options{}, "named"},
		{"file to new/", "dst/", none, file, files.Options{}, ""},
		{"file to a file", "dst", other, file, files.Options{}, "named"},
		{"file to file/", "dst/", other, file, files.Options{}, ""},
		{"file, no parent", "no/dst", orphan, file, files.Options{}, ""},
		{"several to a directory", "dst", directory, file, several, "into"},
		{"several to a new name", "dst", none, file, several, ""},
		{"several to a file", "dst", other, file, several, ""},
		{"WriteFile to a file", "dst", other, file, files.Options{Replace: true}, "named"},
		{"WriteFile to a directory", "dst", directory, file, files.Options{Replace: true}, ""},
	} {
		got, err := files.WayTo(test.path, test.state, test.frame, test.o)
		if (err == nil) != (test.want != "") || err == nil && got != test.want {
			t.Errorf("%s: WayTo(%q) = %q, %v; want %q", test.name, test.path, got, err, test.want)
		}
	}
}

// makeLinks makes symbolic links, from names to targets.
func makeLinks(t *testing.T, links map[string]string) {
	t.Helper()
	for name, target := range links {
		err := os.Symlink(target, name)
		if _, there := os.Stat(target); err == nil && there == nil {
			_, err = os.Stat(name)
		}
		if err != nil && runtime.GOOS == "windows" {
			t.Skipf("Windows makes links only with a privilege, and Wine's lead nowhere: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestCopyGoesWhereCpPutsIt(t *testing.T) {
	for way, do := range ways {
		for _, test := range []struct {
			from, to string
			o        files.Options
			want     string // the file f of the source; empty: an error
		}{
			{"src", "dst", files.Options{}, "dst/src/f"},
			{"src/", "dst", files.Options{}, "dst/src/f"},
			{"src/.", "dst", files.Options{}, "dst/f"},
			{"src", "new", files.Options{}, "new/f"},
			{"src", "new/", files.Options{}, "new/f"},
			{"src/.", "new", files.Options{}, "new/f"},
			{"src/f", "dst", files.Options{}, "dst/f"},
			{"src/f", "dst/", files.Options{}, "dst/f"},
			{"src/f", "dst/.", files.Options{}, "dst/f"},
			{"src/f", "new/", files.Options{}, ""},
			{"src/f", "new", files.Options{}, "new"},
			{"src/f", "file", files.Options{}, "file"},
			{"src/f", "link", files.Options{}, "file"},
			{"src/f", "dangling", files.Options{}, ""},
			{"src", "file", files.Options{}, ""},
			{"src/f/", "dst", files.Options{}, ""},
			{"src/f", "no/x", files.Options{}, ""},
			{"src/f", "no/x", files.Options{Parents: true}, "no/x"},
			{"src", "no/x", files.Options{Parents: true}, "no/x/f"},
			{"src/f", "new", files.Options{Several: true}, ""},
			{"src/f", "linkdir", files.Options{}, "dst/f"},
			{"linkdir", "new", files.Options{}, "new/g"},
			{"none", "dst", files.Options{}, ""},
			{"", "dst", files.Options{}, ""},
		} {
			t.Run(way+" "+test.from+" to "+test.to, func(t *testing.T) {
				t.Chdir(t.TempDir())
				write(t, "src/f", []byte("source"))
				write(t, "file", []byte("old"))
				write(t, "dst/g", nil)
				links := map[string]string{"link": "file", "linkdir": "dst", "dangling": "nowhere"}
				if links[test.from]+links[test.to] != "" {
					makeLinks(t, links)
				}
				failed, err := do(t, test.from, test.to, test.o)
				switch {
				case test.want == "" && err == nil && len(failed) == 0:
					t.Error("no error")
				case test.want != "" && (err != nil || len(failed) > 0):
					t.Errorf("%v, %q", err, failed)
				case test.want != "" && filepath.Base(test.want) != "g":
					wantFile(t, test.want, []byte("source"))
				}
				if _, err := os.Lstat("nowhere"); err == nil {
					t.Error("the copy went through a dangling link")
				}
			})
		}
	}
}
