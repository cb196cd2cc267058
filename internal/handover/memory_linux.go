package handover

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// seals keep a file as it is.
const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

func (w *Writer) seal(document any) (*os.File, error) {
	f, err := newMemory()
	if err != nil {
		return nil, err
	}
	if err := w.WriteTo(f, document); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, errors.Join(os.NewSyscallError("fcntl(F_ADD_SEALS)", err), f.Close())
	}
	return f, nil
}

// newMemory says that the file will not be executed, which some systems want to hear
// (vm.memfd_noexec). Kernels before 6.3 do not know how.
func newMemory() (*os.File, error) {
	const name = "cocoon-agent state"
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func open(fd int) (*os.File, error) {
	has, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil || has&seals != seals {
		return nil, fmt.Errorf("%w: descriptor %d is not a sealed file", ErrState, fd)
	}
	return os.NewFile(uintptr(fd), "state"), nil
}
