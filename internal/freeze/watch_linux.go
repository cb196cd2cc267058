package freeze

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A watch knows when all is to go on.
type watch struct {
	in      *os.File
	timer   int
	kernel  int            // the socket of the kernel's events; -1: there is none
	lines   []byte         // that have come, and are not read
	signals chan os.Signal // has one if the guard is to end, as when the guest goes down
}

func newWatch(in *os.File) (*watch, error) {
	timer, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	w := &watch{in: in, timer: timer, kernel: openEvents(), signals: make(chan os.Signal, 1)}
	signal.Notify(w.signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	return w, nil
}

// first waits for the request.
func (w *watch) first() (*Request, error) {
	for {
		if o, ok := w.order(); ok && o.Request != nil {
			return o.Request, nil
		}
		if !w.read() {
			return nil, errors.New("no request has come")
		}
	}
}

func (w *watch) arm(within time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(within.Nanoseconds(), 1))}
	return os.NewSyscallError("timerfd_settime", unix.TimerfdSettime(w.timer, 0, &spec, nil))
}

// left returns how much time is left.
func (w *watch) left() time.Duration {
	var now unix.ItimerSpec
	_ = unix.TimerfdGettime(w.timer, &now) // it fails for no timer of ours
	return time.Duration(now.Value.Nano())
}

// wait returns why all is to go on.
func (w *watch) wait() End {
	fds := []unix.PollFd{
		{Fd: int32(w.in.Fd()), Events: unix.POLLIN},
		{Fd: int32(w.timer), Events: unix.POLLIN},
		{Fd: pidfdNumber, Events: unix.POLLIN},
		{Fd: int32(w.kernel), Events: unix.POLLIN},
	}
	for {
		for o, ok := w.order(); ok; o, ok = w.order() {
			switch {
			case o.Thaw:
				return Told
			case o.Within > w.left():
				_ = w.arm(o.Within)
			}
		}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, syscall.EINTR) {
			return AgentEnd // nothing else could be waited for
		}
		switch {
		case fds[2].Revents != 0:
			return AgentEnd
		case fds[1].Revents != 0:
			return TimeOut
		case fds[3].Revents != 0 && w.restored():
			return Restored
		case fds[0].Revents != 0 && !w.read():
			return AgentEnd
		}
	}
}

// read reads what has come, and returns false at the end.
func (w *watch) read() bool {
	var b [4096]byte
	n, err := syscall.Read(int(w.in.Fd()), b[:])
	w.lines = append(w.lines, b[:max(n, 0)]...)
	return n > 0 || errors.Is(err, syscall.EINTR)
}

// order returns the next line that has come.
func (w *watch) order() (o order, ok bool) {
	line, rest, ok := strings.Cut(string(w.lines), "\n")
	if !ok {
		return o, false
	}
	w.lines = []byte(rest)
	return o, json.Unmarshal([]byte(line), &o) == nil
}

// openEvents returns a socket that the kernel sends its events to.
func openEvents() int {
	const kernelsGroup = 1
	s, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return -1
	}
	if err := unix.Bind(s, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelsGroup}); err != nil {
		_ = unix.Close(s)
		return -1
	}
	return s
}

// restored reads events, and reports whether one says that the VM has another generation ID than before:
// it was restored from a snapshot.
func (w *watch) restored() bool {
	var event [4096]byte
	for {
		n, from, err := unix.Recvfrom(w.kernel, event[:], 0)
		if err != nil {
			return false // there is no more, or some were lost
		}
		if sender, ok := from.(*unix.SockaddrNetlink); ok && sender.Pid == 0 && isNewGeneration(event[:n]) {
			return true
		}
	}
}

// isNewGeneration reports whether an event of the kernel is the one of its vmgenid driver.
func isNewGeneration(event []byte) bool {
	for field := range bytes.SplitSeq(event, []byte{0}) {
		if string(field) == "NEW_VMGENID=1" {
			return true
		}
	}
	return false
}
