//go:build linux

package vhostuser_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/vhostuser"
)

// pair returns the two ends of a connection.
func pair(t *testing.T) (front, back *net.UnixConn) {
	t.Helper()
	dir, err := os.MkdirTemp("", "vu") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	addr := &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"}
	l, err := net.ListenUnix("unix", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if front, err = net.DialUnix("unix", nil, addr); err != nil {
		t.Fatal(err)
	}
	if back, err = l.AcceptUnix(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = front.Close()
		_ = back.Close()
	})
	return front, back
}

// message is SET_VRING_NUM of 16 for queue 1, which wants an answer.
var message = []byte{8, 0, 0, 0, 9, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 16, 0, 0, 0}

func TestReadMessageWithDescriptors(t *testing.T) {
	front, back := pair(t)
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rights := unix.UnixRights(int(file.Fd()), int(file.Fd()))
	if _, _, err := front.WriteMsgUnix(message, rights, nil); err != nil {
		t.Fatal(err)
	}
	m, err := vhostuser.Read(back)
	if err != nil || m.Request != vhostuser.SetVringNum || !m.WantsAck() || len(m.FDs()) != 2 {
		t.Fatalf("Read() = %+v, %v", m, err)
	}
	if index, value, err := m.State(); index != 1 || value != 16 || err != nil {
		t.Errorf("State() = %d, %d, %v, want 1, 16", index, value, err)
	}
	taken, left := m.TakeFD(), m.FDs()[0]
	m.Close()
	if err := unix.Close(taken); err != nil {
		t.Errorf("close a descriptor that was taken: %v", err)
	}
	if err := unix.Close(left); !errors.Is(err, unix.EBADF) {
		t.Errorf("close a descriptor of a closed message: %v, want EBADF", err)
	}
	if fd := m.TakeFD(); fd != -1 {
		t.Errorf("TakeFD() of a closed message = %d, want -1", fd)
	}
}

func TestReadMessageCutAtEveryByte(t *testing.T) {
	for n := range message {
		front, back := pair(t)
		if _, err := front.Write(message[:n]); err != nil {
			t.Fatal(err)
		}
		_ = front.Close()
		m, err := vhostuser.Read(back)
		if err == nil || errors.Is(err, io.EOF) != (n == 0) {
			t.Errorf("Read() of %d bytes of %d = %+v, %v", n, len(message), m, err)
		}
	}
}

func TestReadRejectsHeaders(t *testing.T) {
	for name, header := range map[string][]byte{
		"a body that is too long":   {1, 0, 0, 0, 1, 0, 0, 0, 1, 16, 0, 0},
		"the longest body":          {1, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255},
		"a version that is not 1":   {1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0},
		"a message without version": make([]byte, 12),
	} {
		front, back := pair(t)
		if _, err := front.Write(header); err != nil {
			t.Fatal(err)
		}
		if m, err := vhostuser.Read(back); err == nil {
			t.Errorf("%s: Read() = %+v, want an error", name, m)
		}
	}
}

func FuzzBody(f *testing.F) {
	f.Add(message[12:])
	f.Add(make([]byte, 40))
	f.Fuzz(func(t *testing.T, body []byte) {
		m := &vhostuser.Message{Body: body}
		_, _, _ = m.State()
		_, _, _ = m.Addresses()
		if _, fd, _ := m.File(); fd != -1 {
			t.Errorf("File() = %d without a descriptor", fd)
		}
		if regions, err := m.Regions(); err == nil && len(regions) > 0 {
			t.Errorf("Regions() = %v without descriptors", regions)
		}
		if reply, err := m.ConfigReply([]byte{1}); err == nil && len(reply) != len(body) {
			t.Errorf("ConfigReply() of %d bytes = %d bytes", len(body), len(reply))
		}
	})
}
