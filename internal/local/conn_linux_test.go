package local_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/local"
)

// isReset reports whether a read has found a reset.
func isReset(err error) bool { return errors.Is(err, syscall.ECONNRESET) }

// awaitByte waits for a byte, and leaves it.
func awaitByte(raw syscall.RawConn) {
	_ = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
		return !errors.Is(err, syscall.EAGAIN)
	})
}

func TestDialSaysWhyThereIsNoConnection(t *testing.T) {
	closed := agenttest.Listen(t, "tcp")
	_ = closed.Close()
	datagram, err := net.ListenPacket("unixgram", t.TempDir()+"/d")
	if err != nil {
		t.Fatal(err)
	}
	defer datagram.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		network, address string
		want             error
	}{
		{"tcp", closed.Addr().String(), local.ErrNotFound},
		{"unix", "/nosuch/socket", local.ErrNotFound},
		{"unix", file, local.ErrNotFound},
		{"unix", file + "/below", local.ErrNotFound},
		{"unix", "@nosuch-abstract-socket", local.ErrNotFound},
		{"unix", datagram.LocalAddr().String(), local.ErrInvalid},
	} {
		if _, err := here.Dial(t.Context(), address(t, test.network, test.address)); !errors.Is(err, test.want) {
			t.Errorf("%s %s: %v, want %v", test.network, test.address, err, test.want)
		}
	}
}

func TestDialWithoutPermissionIsErrNotPermitted(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may connect to any socket")
	}
	ln := agenttest.Listen(t, "unix")
	if err := os.Chmod(ln.Addr().String(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := here.Dial(t.Context(), address(t, "unix", ln.Addr().String())); !errors.Is(err, local.ErrNotPermitted) {
		t.Error(err)
	}
}

func TestDialOfAServiceWithAFullQueueIsAShortage(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	path := t.TempDir() + "/s"
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		var c *local.Conn
		if c, err = here.Dial(t.Context(), address(t, "unix", path)); err != nil {
			break
		}
		t.Cleanup(c.Close)
	}
	if !errors.Is(err, local.ErrResources) {
		t.Error(err)
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := here.Dial(ctx, address(t, "unix", agenttest.Listen(t, "unix").Addr().String())); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
