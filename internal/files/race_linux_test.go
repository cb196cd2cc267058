package files_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/files"
)

// raceTime is for how long directories are swapped; a nightly run may take longer.
func raceTime(t *testing.T) time.Duration {
	if text := os.Getenv("COCOON_RACE_TIME"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	return 2 * time.Second
}

// swap exchanges two names until the end of the test, or until stop is called.
func swap(t *testing.T, a, b string) (stop func()) {
	t.Helper()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
			}
		}
	})
	stop = sync.OnceFunc(func() { close(done); wg.Wait() })
	t.Cleanup(stop)
	return stop
}

// arena is a directory with "d" and "l", a link out of it, which change names all the time.
func arena(t *testing.T) (dir, outside string) {
	t.Helper()
	dir = t.TempDir()
	outside = dir + "/outside"
	for _, d := range []string{outside, dir + "/in/d"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, dir+"/in/l"); err != nil {
		t.Fatal(err)
	}
	return dir, outside
}

func isEmpty(t *testing.T, dir string) bool {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(all) == 0
}

func TestSwappedDirectoriesLeadNowhere(t *testing.T) {
	dir, outside := arena(t)
	write(t, dir+"/src/d/small", []byte("x"))
	write(t, dir+"/src/d/sub/large", pattern(files.SmallFile+1))
	if err := os.Link(dir+"/src/d/small", dir+"/src/d/sub/second"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(dir+"/src/d/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	stop := swap(t, dir+"/in/d", dir+"/in/l")

	escaped := false // the control: paths are resolved each time
	for begun := time.Now(); !escaped && time.Since(begun) < 30*time.Second; {
		_ = os.MkdirAll(dir+"/in/d/sub", 0o755)
		escaped = !isEmpty(t, outside)
	}
	if !escaped {
		t.Error("the control, which should, did not get out")
	}
	stop()
	for _, path := range []string{outside, dir + "/in/d", dir + "/in/l"} {
		_ = os.RemoveAll(path + "/sub")
	}
	swap(t, dir+"/in/d", dir+"/in/l")

	copies := 0
	for begun := time.Now(); time.Since(begun) < raceTime(t); copies++ {
		_, _ = push(t, dir+"/src/.", dir+"/in", files.Options{Special: true, XAttrs: true}) // many fail: d is a link
		if !isEmpty(t, outside) {
			t.Fatalf("copy %d got out", copies)
		}
	}
	t.Logf("%d copies", copies)
}

func TestSwappedSourcesAreNotRead(t *testing.T) {
	dir, outside := arena(t)
	write(t, outside+"/f", []byte("secret"))
	write(t, dir+"/in/d/f", []byte("public"))
	swap(t, dir+"/in/d", dir+"/in/l")

	escaped := false
	for begun := time.Now(); !escaped && time.Since(begun) < 30*time.Second; {
		got, _ := os.ReadFile(dir + "/in/d/f")
		escaped = string(got) == "secret"
	}
	if !escaped {
		t.Error("the control, which should, did not get out")
	}
	for begun, n := time.Now(), 0; time.Since(begun) < raceTime(t); n++ {
		_, _ = pull(t, dir+"/in", dir+"/dst", files.Options{})
		found, _ := filepath.Glob(dir + "/dst/*/f")
		for _, path := range found {
			if i, err := os.Lstat(filepath.Dir(path)); err != nil || !i.IsDir() {
				continue // a link, copied as one
			}
			if got, _ := os.ReadFile(path); string(got) != "public" {
				t.Fatalf("copy %d has %q", n, got)
			}
		}
		if err := os.RemoveAll(dir + "/dst"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRemoveStaysWithinTheDirectory(t *testing.T) {
	dir, outside := arena(t)
	write(t, outside+"/f", []byte("keep"))
	swap(t, dir+"/in/d", dir+"/in/l")
	for begun := time.Now(); time.Since(begun) < raceTime(t); {
		g := serve(t, files.Request{Op: files.Remove, Path: dir + "/in/d"})
		_ = files.Entries(g.Conn, files.Options{Recursive: true}, 0, nil)
		g.close()
		wantFile(t, outside+"/f", []byte("keep"))
		_ = os.Mkdir(dir+"/in/d", 0o755)
		_ = os.Symlink(outside, dir+"/in/l")
	}
}
