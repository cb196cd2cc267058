//go:build linux

package client_test

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/client"
)

// Deadlines of a file need that it does not block.
func TestModesOfLeavesTheFileAsItIs(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer master.Close()
	if err := master.SetReadDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Skip(err)
	}
	if _, err := client.ModesOf(master); err != nil {
		t.Fatal(err)
	}
	raw, err := master.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	_ = raw.Control(func(fd uintptr) {
		if flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0); err != nil || flags&unix.O_NONBLOCK == 0 {
			t.Errorf("flags %#x, %v, want O_NONBLOCK", flags, err)
		}
	})
}
