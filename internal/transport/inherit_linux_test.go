package transport_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

// descriptor is a copy of a file's descriptor that Inherit may have.
func descriptor(t *testing.T, file func() (*os.File, error)) int {
	t.Helper()
	f, err := file()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// boundElsewhere is a listening Unix socket of somebody else's.
func boundElsewhere(t *testing.T, path string) *net.UnixListener {
	t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func closed(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err != nil
}

func TestInheritedUnixListenerLeavesItsFile(t *testing.T) {
	path := filepath.Join(socketDir(t), "s")
	owner := boundElsewhere(t, path)
	fd := descriptor(t, owner.File)
	ln, a, err := transport.Inherit(fd, transport.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	if a != unixAddress(path) || !closed(fd) {
		t.Errorf("address %v; the descriptor is closed: %t", a, closed(fd))
	}
	connect(t, ln)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	connect(t, owner)
}

func TestInheritedAbstractSocketHasItsName(t *testing.T) {
	name := "@" + filepath.Base(socketDir(t))
	ln, a, err := transport.Inherit(descriptor(t, boundElsewhere(t, name).File), transport.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if a != unixAddress(name) {
		t.Errorf("address %v", a)
	}
}

func socket(t *testing.T, family, kind int) int {
	t.Helper()
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func TestInheritRejectsAndClosesNonListeners(t *testing.T) {
	for want, fd := range map[string]int{
		"not a listening socket: socket operation on non-socket": descriptor(t, func() (*os.File, error) { return os.Open(os.DevNull) }),
		"socket of address family 2: want AF_VSOCK":              socket(t, unix.AF_INET, unix.SOCK_STREAM),
		"not a stream socket":                                    socket(t, unix.AF_UNIX, unix.SOCK_DGRAM),
		"not a listening socket: use":                            socket(t, unix.AF_UNIX, unix.SOCK_STREAM),
	} {
		ln, _, err := transport.Inherit(fd, transport.Policy{})
		if ln != nil || err == nil || !strings.HasPrefix(err.Error(), want) || !closed(fd) {
			t.Errorf("%v, want %s; closed: %t", err, want, closed(fd))
		}
	}
	if _, _, err := transport.Inherit(1<<20, transport.Policy{}); err == nil || err.Error() != "not a listening socket: bad file descriptor" {
		t.Error(err)
	}
}
