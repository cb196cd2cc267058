package files_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/files"
)

// tree makes a directory with one of each kind of entry.
func tree(t *testing.T, root string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write(t, root+"/plain", []byte("plain"))
	write(t, root+"/empty", nil)
	write(t, root+"/sub/deep/large", pattern(3<<20+1))
	write(t, root+"/"+strings.Repeat("n", 255), []byte("long"))
	write(t, root+"/new\nline \xff", []byte("bytes"))
	must(os.Link(root+"/plain", root+"/sub/second"))
	must(os.Link(root+"/sub/deep/large", root+"/largelink"))
	must(os.Symlink("/nowhere", root+"/dangling"))
	must(os.Symlink("plain", root+"/relative"))
	must(os.Truncate(root+"/sub/deep/large", 8<<20))
	for name, mode := range map[string]uint32{"plain": 0o640, "empty": 0o6755, "sub": 0o1777, "sub/deep": 0o500} {
		must(unix.Chmod(root+"/"+name, mode))
	}
	when := time.Unix(-3, 123456789)
	future := time.Unix(8589934592, 987654321) // after 2242
	must(os.Chtimes(root+"/plain", when, when))
	must(os.Chtimes(root+"/empty", future, future))
	stamp := []unix.Timespec{{Sec: 1, Nsec: 2}, {Sec: 3, Nsec: 4}}
	must(unix.UtimesNanoAt(unix.AT_FDCWD, root+"/dangling", stamp, unix.AT_SYMLINK_NOFOLLOW))
	must(os.Chtimes(root+"/sub", when, when))
	must(os.Chtimes(root, when, when))
}

// describe lists what is below root, a line for each entry. Of the mode only mask counts.
func describe(t *testing.T, root string, mask uint32) []string {
	t.Helper()
	inodes := make(map[uint64]string)
	var lines []string
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		var st syscall.Stat_t
		if err == nil {
			err = syscall.Lstat(path, &st)
		}
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		keep := mask
		if st.Mode&syscall.S_IFMT == syscall.S_IFDIR {
			keep |= 0o1000
		}
		line := fmt.Sprintf("%q %o %d %d.%09d", name, st.Mode&(syscall.S_IFMT|keep), st.Nlink, st.Mtim.Sec, st.Mtim.Nsec)
		switch st.Mode & syscall.S_IFMT {
		case syscall.S_IFLNK:
			target, _ := os.Readlink(path)
			line += " -> " + target
		case syscall.S_IFREG:
			line += fmt.Sprintf(" size %d, few blocks %v", st.Size, st.Blocks*512 < 4<<20)
			if first := inodes[st.Ino]; first != "" {
				line += " = " + first
			} else {
				inodes[st.Ino] = name
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %x", bytes.TrimRight(data, "\x00")[:min(8, len(bytes.TrimRight(data, "\x00")))])
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestCopyKeepsMetadata(t *testing.T) {
	umask := unix.Umask(0o077) // which has no effect
	t.Cleanup(func() { unix.Umask(umask) })
	for way, do := range ways {
		for _, preserve := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s preserve=%v", way, preserve), func(t *testing.T) {
				dir := t.TempDir()
				tree(t, dir+"/src")
				t.Cleanup(func() { _ = os.Chmod(dir+"/src/sub/deep", 0o700); _ = os.Chmod(dir+"/dst/sub/deep", 0o700) })
				for range 2 { // the second time over the first
					failed, err := do(t, dir+"/src/.", dir+"/dst", files.Options{PreserveMode: preserve})
					if err != nil || len(failed) > 0 {
						t.Fatalf("%v, %q", err, failed)
					}
				}
				mask := uint32(0o777)
				if preserve {
					mask = 0o7777
				}
				want, got := describe(t, dir+"/src", mask), describe(t, dir+"/dst", 0o7777)
				want[0], got[0] = "", "" // a directory that exists keeps its own
				if !slices.Equal(want, got) {
					t.Errorf("copied:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			})
		}
	}
}

func TestCopySkipsSpecialFiles(t *testing.T) {
	for way, do := range ways {
		t.Run(way, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir+"/src/file", []byte("x"))
			if err := unix.Mkfifo(dir+"/src/fifo", 0o600); err != nil {
				t.Fatal(err)
			}
			failed, err := do(t, dir+"/src", dir+"/dst", files.Options{})
			if err != nil || len(failed) != 1 || !strings.Contains(failed[0], "src/fifo: a fifo") {
				t.Errorf("%v, %q; want one line about the fifo", err, failed)
			}
			wantFile(t, dir+"/dst/file", []byte("x"))
			if _, err := os.Lstat(dir + "/dst/fifo"); err == nil {
				t.Error("the fifo was copied")
			}
			if _, err := do(t, dir+"/src/fifo", dir+"/dst", files.Options{}); err == nil {
				t.Error("a fifo was taken as the source")
			}
			write(t, dir+"/large", pattern(files.SmallFile+1))
			for _, from := range []string{dir + "/src/file", dir + "/large"} {
				failed, err := do(t, from, dir+"/src/fifo", files.Options{})
				if err != nil || len(failed) != 1 || !strings.Contains(failed[0], "a fifo is there") {
					t.Errorf("%v, %q; want one line about the fifo", err, failed)
				}
			}
			if i, err := os.Lstat(dir + "/src/fifo"); err != nil || i.Mode().Type() != fs.ModeNamedPipe {
				t.Errorf("the fifo has become %v, %v", i, err)
			}
			wantNoParts(t, dir+"/src")
		})
	}
}

func TestFollowCopiesWhatLinksLeadTo(t *testing.T) {
	for way, do := range ways {
		t.Run(way, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir+"/outside/f", []byte("outside"))
			write(t, dir+"/src/f", []byte("inside"))
			for name, target := range map[string]string{"link": "f", "dir": "../outside", "loop": ".", "dangling": "none"} {
				if err := os.Symlink(target, dir+"/src/"+name); err != nil {
					t.Fatal(err)
				}
			}
			failed, err := do(t, dir+"/src", dir+"/dst", files.Options{Follow: true})
			if err != nil || len(failed) != 2 {
				t.Errorf("%v, %q; want two lines, about the loop and the dangling link", err, failed)
			}
			wantFile(t, dir+"/dst/link", []byte("inside"))
			wantFile(t, dir+"/dst/dir/f", []byte("outside"))
		})
	}
}

func TestOwnersAreKeptIfAsked(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	for way, do := range ways {
		for o, want := range map[files.Options]uint32{{}: 0, {Numeric: true}: 12345, {Owner: true}: 12345} {
			dir := t.TempDir()
			write(t, dir+"/src/f", nil)
			if err := os.Chown(dir+"/src/f", 12345, 12346); err != nil {
				t.Fatal(err)
			}
			if failed, err := do(t, dir+"/src", dir+"/dst", o); err != nil || len(failed) > 0 {
				t.Fatalf("%s: %v, %q", way, err, failed)
			}
			i, err := os.Stat(dir + "/dst/f")
			if err != nil {
				t.Fatal(err)
			}
			if got := i.Sys().(*syscall.Stat_t).Uid; got != want {
				t.Errorf("%s %+v: owner %d, want %d", way, o, got, want)
			}
		}
	}
}

func TestFileThatShrinksIsNotCopied(t *testing.T) {
	dir := t.TempDir()
	for _, allow := range []bool{false, true} { // the size at the beginning cannot be copied either way
		write(t, dir+"/log", pattern(files.AskSize))
		g := serve(t, files.Request{Op: files.Push, Path: dir + "/copy"})
		var failed failures
		e := failed.events()
		e.Progress = func(files.Counts) { _ = os.Truncate(dir+"/log", files.SmallFile) }
		_, _, err := files.PushTo(g.Conn, files.FromPath(dir+"/log"), files.Options{AllowChanged: allow}, e)
		if err != nil || len(failed) != 1 || !strings.Contains(failed[0], "changed while it was read") {
			t.Errorf("AllowChanged %v: %v, %q; want one file that changed", allow, err, failed)
		}
		if _, err := os.Stat(dir + "/copy"); err == nil {
			t.Errorf("AllowChanged %v: there is a copy", allow)
		}
		wantNoParts(t, dir)
	}
}

func TestFileThatChangesIsNotCopied(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/log", pattern(files.AskSize))
	for _, allow := range []bool{false, true} {
		g := serve(t, files.Request{Op: files.Push, Path: dir + "/copy"})
		f, err := os.OpenFile(dir+"/log", os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		var failed failures
		e := failed.events()
		e.Progress = func(files.Counts) { _, _ = f.WriteString("one more line\n") }
		_, _, err = files.PushTo(g.Conn, files.FromPath(dir+"/log"), files.Options{AllowChanged: allow}, e)
		_ = f.Close()
		if err != nil || (len(failed) == 0) != allow {
			t.Errorf("AllowChanged %v: %v, %q", allow, err, failed)
		}
		i, err := os.Stat(dir + "/copy")
		if (err == nil) != allow || allow && i.Size() < files.AskSize {
			t.Errorf("AllowChanged %v: %v, %v", allow, i, err)
		}
		wantNoParts(t, dir)
	}
}
