//go:build linux

package clone_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/proc/clone"
)

// A start that hangs may go on after Close. By then the number of /dev/null may be
// that of another file.
func TestTakeLowDescriptorsAreClosedAfterClose(t *testing.T) {
	e := clone.Open(clone.Config{})
	first, give, ok := e.TakeLow()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if !ok {
		t.Skip("this way to start processes has none")
	}
	give()
	for i := range 3 {
		if _, err := unix.FcntlInt(uintptr(first+i), unix.F_GETFD, 0); !errors.Is(err, unix.EBADF) {
			t.Errorf("descriptor %d is still open: %v", first+i, err)
		}
	}
}
