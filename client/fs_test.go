//go:build linux

package client_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
)

// guestFiles returns the file system of a new agent, which is this machine's.
func guestFiles(tb testing.TB) *client.FS {
	tb.Helper()
	a := agenttest.StartWith(tb, agenttest.WithFiles)
	return connect(tb, a.Target).FS("").WithContext(tb.Context())
}

func write(tb testing.TB, path, text string, mode fs.FileMode) {
	tb.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		tb.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		tb.Fatal(err)
	}
}

func TestFSKeepsTheRulesOfIOFS(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a", "alpha", 0o640)
	write(t, dir+"/sub/b", "beta", 0o600)
	sub, err := fs.Sub(guestFiles(t), dir[1:])
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(sub, "a", "sub/b"); err != nil {
		t.Error(err)
	}
}

func TestWriteFileReplacesAFile(t *testing.T) {
	f, path := guestFiles(t), t.TempDir()+"/file"
	for _, data := range [][]byte{[]byte("one"), bytes.Repeat([]byte("two"), 1<<20), nil} {
		if err := f.WriteFile(t.Context(), path, data, 0o604); err != nil {
			t.Fatal(err)
		}
		got, err := f.ReadFile(path[1:])
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("ReadFile returned %d bytes, %v; want %d", len(got), err, len(data))
		}
		if i, err := os.Stat(path); err != nil || i.Mode() != 0o604 {
			t.Errorf("Stat: %v, %v; want mode 0604", i, err)
		}
	}
	if err := f.WriteFile(t.Context(), filepath.Dir(path), nil, 0o600); err == nil {
		t.Error("WriteFile wrote over a directory")
	}
}

func TestFSErrorsAreThoseOfIOFS(t *testing.T) {
	f, dir := guestFiles(t), t.TempDir()
	write(t, dir+"/sub/x", "", 0o600)
	if _, err := f.ReadFile(dir[1:] + "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadFile: %v, want fs.ErrNotExist", err)
	}
	if err := f.Mkdir(t.Context(), dir+"/sub", 0o700); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Mkdir: %v, want fs.ErrExist", err)
	}
	if err := f.Remove(t.Context(), dir+"/sub"); err == nil || !strings.HasPrefix(err.Error(), "remove "+dir+"/sub: ") {
		t.Errorf("Remove of a directory with content: %v, want an error with its path", err)
	}
	if err := f.List(t.Context(), dir+"/none", nil); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "readdir "+dir+"/none: ") {
		t.Errorf("List: %v, want fs.ErrNotExist and the path", err)
	}
	stop := errors.New("enough")
	if err := f.List(t.Context(), dir, func(fs.FileInfo) error { return stop }); err != stop { //nolint:errorlint // it comes as it is
		t.Errorf("List: %v, want the caller's own error", err)
	}
	if err := f.RemoveAll(t.Context(), dir+"/sub"); err != nil {
		t.Errorf("RemoveAll: %v", err)
	}
	if err := f.MkdirAll(t.Context(), dir+"/p/q", fs.ModeSticky|0o750); err != nil {
		t.Errorf("MkdirAll: %v", err)
	}
	if err := f.Rename(t.Context(), dir+"/p/q", dir+"/r"); err != nil {
		t.Errorf("Rename: %v", err)
	}
	if i, err := f.Lstat(t.Context(), dir+"/r"); err != nil || i.Mode() != fs.ModeDir|fs.ModeSticky|0o750 {
		t.Errorf("Lstat: %v, %v", i, err)
	}
}

func TestFSNeedsTheFeature(t *testing.T) {
	c, _ := dial(t)
	_, err := c.FS("").ReadFile("etc/hosts")
	wantKind(t, errors.Unwrap(err), client.Unsupported)
	_, err = c.FS("").Push(t.Context(), t.TempDir(), t.TempDir(), nil)
	wantKind(t, err, client.Unsupported)
}

func TestOpenFileCanBeClosedEarly(t *testing.T) {
	f, path := guestFiles(t), t.TempDir()+"/big"
	write(t, path, "", 0o600)
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Fatal(err)
	}
	file, err := f.Open(path[1:])
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.ReadFull(file, make([]byte, 10)); n != 10 || err != nil {
		t.Errorf("Read: %d, %v", n, err)
	}
	if err := file.Close(); err != nil {
		t.Error(err)
	}
}
