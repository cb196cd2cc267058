package transport_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

func unixAddress(path string) transport.Address {
	return transport.Address{Scheme: "unix", Path: path}
}

// listen listens until the test ends.
func listen(t *testing.T, path string) net.Listener {
	t.Helper()
	ln, err := transport.Listen(unixAddress(path), transport.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	u, ok := ln.(*net.UnixListener)
	if !ok {
		t.Fatalf("a listener of type %T", ln)
	}
	_ = u.SetDeadline(time.Now().Add(patience)) // no Accept for ever
	return ln
}

// connect returns both ends of a new connection.
func connect(t *testing.T, ln net.Listener) (host, agent net.Conn) {
	t.Helper()
	host, err := transport.Dial(patiently(t), unixTarget(ln.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = host.Close() })
	agent, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = agent.Close() })
	return host, agent
}

// stale leaves a socket behind that nobody listens on.
func stale(t *testing.T, path string) {
	t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ln.SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestUnixCarriesBytesBothWays(t *testing.T) {
	host, agent := connect(t, listen(t, filepath.Join(socketDir(t), "s")))
	for _, c := range []struct{ from, to net.Conn }{{host, agent}, {agent, host}} {
		if _, err := io.WriteString(c.from, "hello"); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(c.to, got); err != nil || string(got) != "hello" {
			t.Errorf("ReadFull = %q, %v, want %q", got, err, "hello")
		}
	}
}

func TestUnixConnOutlivesItsContext(t *testing.T) {
	ln := listen(t, filepath.Join(socketDir(t), "s"))
	ctx, cancel := context.WithCancel(t.Context())
	host, err := transport.Dial(ctx, unixTarget(ln.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	cancel()
	agent, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go func() { // ends when host is closed
		_, _ = io.Copy(agent, agent)
		_ = agent.Close()
	}()
	echo(t, host, "hello")
}

func TestDialUnixSaysWhyItCannot(t *testing.T) {
	dir := socketDir(t)
	stale(t, filepath.Join(dir, "stale"))
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		"nosuch": fs.ErrNotExist,
		"stale":  syscall.ECONNREFUSED,
		"file":   syscall.ECONNREFUSED,
	} {
		path := filepath.Join(dir, name)
		conn, err := transport.Dial(patiently(t), unixTarget(path))
		if !errors.Is(err, want) || conn != nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, %v; want %v", name, conn, err, want)
		}
	}
}

func TestDialFailsIfTheContextHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ln := listen(t, filepath.Join(socketDir(t), "s"))
	if conn, err := transport.Dial(ctx, unixTarget(ln.Addr().String())); !errors.Is(err, context.Canceled) || conn != nil {
		t.Errorf("Dial = %v, %v, want nil, %v", conn, err, context.Canceled)
	}
}

func TestDialAndListenKnowNoOtherScheme(t *testing.T) {
	if conn, err := transport.Dial(t.Context(), transport.Target{}); conn != nil || err == nil || err.Error() != `dial: unknown scheme ""` {
		t.Errorf("Dial of an unknown scheme = %v, %v, want an error", conn, err)
	}
	ln, err := transport.Listen(transport.Address{Scheme: "hvsock", Path: "/s"}, transport.Policy{})
	if ln != nil || err == nil || err.Error() != "listen on hvsock:///s: unknown scheme" {
		t.Errorf("Listen of an unknown scheme = %v, %v, want an error", ln, err)
	}
}

// The umask belongs to the whole process: no other test of this package may
// run at the same time.
func TestListenUnixIgnoresTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o777} {
		path := filepath.Join(socketDir(t), "s")
		before := syscall.Umask(umask)
		listen(t, path)
		syscall.Umask(before)
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if want := fs.ModeSocket | 0o600; info.Mode() != want {
			t.Errorf("umask %03o: mode %v, want %v", umask, info.Mode(), want)
		}
	}
}

func TestListenUnixTakesOverAStaleSocket(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	stale(t, path)
	connect(t, listen(t, path))
}

func TestListenUnixLeavesASocketInUseAlone(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	first := listen(t, path)
	second, err := transport.Listen(unixAddress(path), transport.Policy{})
	if !errors.Is(err, transport.ErrInUse) || second != nil {
		t.Fatalf("Listen = %v, %v, want nil, %v", second, err, transport.ErrInUse)
	}
	if want := "listen on unix://" + path + ": address already in use"; err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	probe, err := first.Accept() // how the second found out
	if err != nil {
		t.Fatal(err)
	}
	if n, err := probe.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("the probe says something: %d bytes, %v", n, err)
	}
	_ = probe.Close()
	connect(t, first)
}

func TestListenUnixLeavesOtherFilesAlone(t *testing.T) {
	dir := socketDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	directory := filepath.Join(dir, "directory")
	if err := os.Mkdir(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	stale(t, filepath.Join(dir, "stale"))
	link := filepath.Join(dir, "link")
	if err := os.Symlink("stale", link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, directory, link} {
		before, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		ln, err := transport.Listen(unixAddress(path), transport.Policy{})
		if want := "listen on unix://" + path + ": " + path + " exists and is not a socket"; ln != nil || err == nil || err.Error() != want {
			t.Errorf("%v, %v; want %s", ln, err, want)
		}
		after, err := os.Lstat(path)
		if err != nil || !os.SameFile(before, after) || before.Mode() != after.Mode() {
			t.Errorf("%s is another one now: %v, %v", path, after, err)
		}
	}
	if got, err := os.ReadFile(file); string(got) != "precious" || err != nil {
		t.Errorf("the file has %q, %v", got, err)
	}
}

func TestListenUnixReportsAMissingDirectory(t *testing.T) {
	path := filepath.Join(socketDir(t), "nosuch", "s")
	if ln, err := transport.Listen(unixAddress(path), transport.Policy{}); !errors.Is(err, fs.ErrNotExist) || ln != nil {
		t.Errorf("Listen = %v, %v, want nil, %v", ln, err, fs.ErrNotExist)
	}
}

func TestListenUnixTakesItsSocketAwayWhenClosed(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	ln := listen(t, path)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", path, err)
	}
	listen(t, path)
}
