//go:build linux

package client_test

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func TestCopyOptionsReachTheGuest(t *testing.T) {
	a := agenttest.StartWith(t, agenttest.WithFiles)
	f, dir := connect(t, a.Target).FS(""), t.TempDir()
	write(t, dir+"/src", "content", 0o600)
	attribute := unix.Setxattr(dir+"/src", "user.text", []byte("value"), 0) == nil
	var sum [32]byte
	o := &client.CopyOptions{XAttrs: true, SHA256: func(_ string, s [32]byte) { sum = s }}
	if _, err := f.Push(t.Context(), dir+"/src", dir+"/dst", o); err != nil {
		t.Fatal(err)
	}
	if sum != sha256.Sum256([]byte("content")) {
		t.Errorf("SHA256 was called with %x", sum)
	}
	got := make([]byte, 100)
	n, err := unix.Getxattr(dir+"/dst", "user.text", got)
	if attribute && (err != nil || string(got[:n]) != "value") {
		t.Errorf("the copy has the attribute %q, %v", got[:max(n, 0)], err)
	}
}

func TestCopyOptionsNeedANewAgent(t *testing.T) {
	c, g := mute(t)
	g.offend(&wire.Hello{Min: 2, Max: 2, Version: "0.9", Features: []string{wire.FeatureFiles}})
	for _, o := range []*client.CopyOptions{{XAttrs: true}, {Security: true}, {Special: true}, {SHA256: func(string, [32]byte) {}}} {
		_, err := c.FS("").Push(patiently(t), "/etc/hosts", "/tmp", o)
		wantKind(t, err, client.Unsupported)
		_, err = c.FS("").Pull(patiently(t), "/etc/hosts", t.TempDir(), o)
		wantKind(t, err, client.Unsupported)
	}
	go func() { _ = c.Ping(t.Context()) }() // ends with the connection
	if m, ok := g.receive().(*wire.Ping); !ok {
		t.Errorf("the guest got %+v first, want the ping", m)
	}
}

func TestLstatTellsTheTypeOfEachFile(t *testing.T) {
	f, dir := guestFiles(t), t.TempDir()
	write(t, dir+"/file", "", 0o600)
	ln, err := net.Listen("unix", dir+"/socket")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if err := errors.Join(unix.Mkfifo(dir+"/fifo", 0o600), os.Symlink("file", dir+"/link")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{
		dir: fs.ModeDir, dir + "/file": 0, dir + "/link": fs.ModeSymlink, dir + "/fifo": fs.ModeNamedPipe,
		dir + "/socket": fs.ModeSocket, "/dev/null": fs.ModeDevice | fs.ModeCharDevice,
	} {
		if i, err := f.Lstat(t.Context(), path); err != nil || i.Mode().Type() != want {
			t.Errorf("Lstat(%q) = %v, %v; want the type %v", path, i, err, want)
		}
	}
}
