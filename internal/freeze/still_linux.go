package freeze

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// groupTime is how long the processes of a control group may take to stop.
const groupTime = 2 * time.Second

// A still is what can be frozen: a control group or a file system.
type still struct {
	name         string
	freeze, thaw func() error
}

func openGroup(path string) (*still, error) {
	control, err := os.OpenFile(filepath.Join(path, "cgroup.freeze"), os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	events, err := os.Open(filepath.Join(path, "cgroup.events"))
	if err != nil {
		return nil, err
	}
	thaw := func() error {
		_, err := unix.Pwrite(int(control.Fd()), []byte("0"), 0)
		return err
	}
	return &still{name: path, thaw: thaw, freeze: func() error {
		if _, err := unix.Pwrite(int(control.Fd()), []byte("1"), 0); err != nil {
			return err
		}
		if err := awaitFrozen(int(events.Fd()), time.Now().Add(groupTime)); err != nil {
			return errors.Join(err, thaw())
		}
		return nil
	}}, nil
}

// awaitFrozen waits until all processes of a control group have stopped.
func awaitFrozen(events int, until time.Time) error {
	for {
		var b [256]byte
		n, err := unix.Pread(events, b[:], 0)
		if err != nil {
			return os.NewSyscallError("pread", err)
		}
		if bytes.Contains(b[:n], []byte("frozen 1")) {
			return nil
		}
		left := time.Until(until)
		if left <= 0 {
			return fmt.Errorf("some processes have not stopped after %v", groupTime)
		}
		fds := []unix.PollFd{{Fd: int32(events), Events: unix.POLLPRI}}
		_, _ = unix.Poll(fds, int(left.Milliseconds())+1)
	}
}

// The requests of ioctl(2), which are the same on all architectures.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

var errThawed = errors.New("another program has thawed it")

// openMount opens a mount point, which may be a file.
func openMount(point string) (*still, error) {
	dir, err := os.OpenFile(point, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	return &still{
		name: point,
		freeze: func() error {
			err := unix.IoctlSetInt(int(dir.Fd()), fiFreeze, 0)
			if errors.Is(err, unix.EBUSY) {
				return errors.New("frozen already, by another program")
			}
			return err
		},
		thaw: func() error {
			err := unix.IoctlSetInt(int(dir.Fd()), fiThaw, 0)
			if errors.Is(err, unix.EINVAL) {
				return errThawed
			}
			return err
		},
	}, nil
}
