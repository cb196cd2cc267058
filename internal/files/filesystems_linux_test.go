package files_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/files"
)

// everything has all metadata kept.
var everything = files.Options{PreserveMode: true, Numeric: true, XAttrs: true, Security: true, Special: true}

// describeAll is describe with owners and extended attributes.
func describeAll(t *testing.T, root string) []string {
	t.Helper()
	lines := describe(t, root, 0o7777)
	n := 0
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		if err == nil {
			lines[n] += " " + strings.Join(append(attrs(t, path), fmt.Sprintf("%d:%d", st.Uid, st.Gid)), " ")
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// TestMetadataCrossesFileSystems copies a tree from one file system to another one, and back.
func TestMetadataCrossesFileSystems(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root mounts file systems and gives files away")
	}
	for name, place := range map[string]func(t *testing.T) string{
		"tmpfs":  func(t *testing.T) string { t.Helper(); return mount(t, "tmpfs", "size=64m") },
		"ext4":   ext4,
		"hostfs": hostfs,
		"overlay": func(t *testing.T) string {
			t.Helper()
			disk := ext4(t)
			for _, dir := range []string{"lower", "upper", "work"} {
				if err := os.Mkdir(filepath.Join(disk, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			return mount(t, "overlay", fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", disk))
		},
	} {
		t.Run(name, func(t *testing.T) {
			from, to, back := t.TempDir(), place(t), t.TempDir()
			tree(t, from+"/src")
			if unix.Setxattr(from, "user.probe", nil, 0) == nil { // a tmpfs before Linux 6.6 has none
				attrTree(t, from+"/src/attributes")
			}
			for path, id := range map[string]int{"plain": 1234, "sub": 4321, "dangling": 1111} {
				if err := os.Lchown(from+"/src/"+path, id, id+1); err != nil {
					t.Fatal(err)
				}
			}
			if err := unix.Chmod(from+"/src/sub", 0o3775); err != nil {
				t.Fatal(err)
			}
			if err := unix.Mkfifo(from+"/src/fifo", 0o600); err != nil {
				t.Fatal(err)
			}
			if failed, err := push(t, from+"/src", to, everything); err != nil || len(failed) > 0 {
				t.Fatalf("push: %v, %q", err, failed)
			}
			if failed, err := pull(t, to+"/src", back, everything); err != nil || len(failed) > 0 {
				t.Fatalf("pull: %v, %q", err, failed)
			}
			want := describeAll(t, from+"/src")
			for _, root := range []string{to, back} {
				got := describeAll(t, root+"/src")
				if name == "hostfs" {
					got, want = withoutUnkept(got), withoutUnkept(want)
				}
				if !slices.Equal(got, want) {
					t.Errorf("copied:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
		})
	}
}

// hostfs is a directory of the host of User-Mode Linux, in which the tests' program lies.
func hostfs(t *testing.T) string {
	t.Helper()
	const magic = 0x00c0ffee // HOSTFS_SUPER_MAGIC
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Statfs_t
	dir := filepath.Dir(self)
	if err := unix.Statfs(dir, &st); err != nil || st.Type != magic {
		t.Skip("not in User-Mode Linux")
	}
	if dir, err = os.MkdirTemp(dir, "hostfs"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// unkept is what hostfs does not keep, though its calls succeed: fractions of seconds, times and owners of
// symbolic links, and holes.
var unkept = regexp.MustCompile(`\.\d{9}\b|, few blocks (true|false)| -?\d+(\.\d+)?( -> .*) \d+:\d+$`)

func withoutUnkept(lines []string) (kept []string) {
	for _, line := range lines {
		kept = append(kept, unkept.ReplaceAllString(line, "$3"))
	}
	return kept
}
