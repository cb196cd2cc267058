package handover_test

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/handover"
)

func TestSealedFileCannotBeChanged(t *testing.T) {
	w := new(handover.Writer)
	f, err := w.Seal(document{Name: "agent"})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 0); !errors.Is(err, unix.EPERM) {
		t.Errorf("WriteAt: %v, want %v", err, unix.EPERM)
	}
	if err := f.Truncate(0); !errors.Is(err, unix.EPERM) {
		t.Errorf("Truncate: %v, want %v", err, unix.EPERM)
	}
	again, err := handover.Open(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	var d document
	if _, err := handover.Read(again, &d); err != nil || d.Name != "agent" {
		t.Errorf("Read = %+v, %v", d, err)
	}
}

func TestOpenTakesSealedFilesAlone(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, fd := range []int{int(f.Fd()), 1 << 20} {
		if _, err := handover.Open(fd); !errors.Is(err, handover.ErrState) {
			t.Errorf("Open(%d): %v, want %v", fd, err, handover.ErrState)
		}
	}
}

// A program that cannot be executed costs this one nothing.
func TestFailedExecRestoresLimitsAndFlags(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	state := func() (l unix.Rlimit, flags int) {
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
			t.Fatal(err)
		}
		if flags, err = unix.FcntlInt(r.Fd(), unix.F_GETFD, 0); err != nil {
			t.Fatal(err)
		}
		return l, flags
	}
	limit, flags := state()
	err = handover.Exec(handover.Program{Path: "/nonexistent", Argv: []string{"x"}, Keep: []int{int(r.Fd())}})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Exec: %v, want %v", err, os.ErrNotExist)
	}
	if l, f := state(); l != limit || f != flags {
		t.Errorf("limits %+v, flags %d, want %+v and %d", l, f, limit, flags)
	}
	if err := handover.Exec(handover.Program{Path: "/nonexistent", Keep: []int{1 << 20}, Argv: []string{"x"}}); !errors.Is(err, unix.EBADF) {
		t.Errorf("Exec with a descriptor that is not open: %v, want %v", err, unix.EBADF)
	}
}
