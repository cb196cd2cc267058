package proc

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/ttymode"
)

// The size of a terminal whose Spec gives none.
const (
	defaultRows = 24
	defaultCols = 80
)

// openTerminal makes a pseudo-terminal for a process of user's: the child gets
// its slave as 0, 1 and 2; the agent's end of stdin and stdout is its master.
func openTerminal(t Terminal, user account, spare *reserve) (*pipes, error) {
	master, slave, err := openPTY(spare)
	if err != nil {
		return nil, err
	}
	p := &pipes{child: [3]uintptr{uintptr(slave), uintptr(slave), uintptr(slave)}, opened: []int{slave}}
	if err := errors.Join(prepareTerminal(master, slave, t, user)); err != nil {
		p.closeChild()
		return nil, errors.Join(err, unix.Close(master))
	}
	file := os.NewFile(uintptr(master), "terminal")
	raw, err := pollable(file)
	if err != nil {
		p.closeChild()
		return nil, errors.Join(err, file.Close())
	}
	p.terminal = &terminal{file: file, raw: raw}
	p.stdin = &Input{file: file, raw: raw, terminal: p.terminal}
	p.stdout = newTerminalOutput(file, raw)
	return p, nil
}

// openPTY opens a pair of pty(7): the master does not block, the slave does, as
// programs expect. TIOCGPTPEER, of Linux 4.13, opens the slave of this very
// master, wherever devpts is mounted.
func openPTY(spare *reserve) (master, slave int, err error) {
	master, err = spare.open()
	if err != nil {
		return -1, -1, err
	}
	if err = unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err == nil {
		slave, err = openPeer(master)
	}
	if err != nil {
		return -1, -1, errors.Join(os.NewSyscallError("ioctl(/dev/ptmx)", err), unix.Close(master))
	}
	return master, slave, nil
}

func openMaster() (int, error) {
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	for _, errno := range []error{unix.ENOENT, unix.ENODEV, unix.ENXIO, unix.EIO, unix.EACCES} {
		if errors.Is(err, errno) {
			return -1, fmt.Errorf("no terminal available: open /dev/ptmx: %w: %w", ErrUnsupported, err)
		}
	}
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: "/dev/ptmx", Err: err}
	}
	return master, nil
}

// openPeer opens the slave of a master.
func openPeer(master int) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// prepareTerminal gives the terminal its size, its modes and its owner, whose programs may
// open it by name.
func prepareTerminal(master, slave int, t Terminal, user account) error {
	if t.Rows == 0 {
		t.Rows = defaultRows
	}
	if t.Cols == 0 {
		t.Cols = defaultCols
	}
	if err := setSize(master, t.Size); err != nil {
		return err
	}
	if err := ttymode.Set(slave, t.Modes); err != nil {
		return os.NewSyscallError("ioctl(TCSETS)", err)
	}
	if int(user.uid) == os.Geteuid() {
		return nil
	}
	return os.NewSyscallError("fchown", unix.Fchown(slave, int(user.uid), -1))
}

// A terminal is the agent's end of one.
type terminal struct {
	file *os.File
	raw  syscall.RawConn
}

// control calls f with the master. It returns os.ErrClosed once that is closed.
func (t *terminal) control(f func(fd int) error) error {
	var err error
	if t.raw.Control(func(fd uintptr) { err = f(int(fd)) }) != nil {
		return os.ErrClosed
	}
	return err
}

// foreground returns the process group that is in the foreground, or 0 if there is
// none.
func (t *terminal) foreground() int {
	group := 0
	_ = t.control(func(fd int) (err error) {
		group, err = unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		return err
	})
	return max(group, 0)
}

// eofInterval is how often the end of input is typed into a terminal whose
// program has taken the last one.
const eofInterval = 200 * time.Millisecond

// endInput types the end of input (VEOF, ^D as a rule). A terminal forgets it. Once a
// program has been told, the next one, say the shell that it was started from, is not;
// and a program that turns to reading single keys finds a NUL instead. That is why
// endInput types it again whenever it has been read. If afterLine is false, the input
// did not end with a line: the first VEOF then only sends the bytes of that line.
// endInput returns when the terminal is closed, by Reap.
func (t *terminal) endInput(afterLine bool) {
	if !afterLine && !t.typeEOF() {
		return
	}
	again := time.NewTicker(eofInterval)
	defer again.Stop()
	for t.typeEOF() {
		for t.unread() {
			<-again.C
		}
		<-again.C
	}
}

// typeEOF says whether the terminal is still open.
func (t *terminal) typeEOF() bool {
	var eof byte
	err := t.control(func(fd int) error {
		modes, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err == nil {
			eof = modes.Cc[unix.VEOF]
		}
		return err
	})
	if err == nil && eof != 0 { // 0: the program has turned it off
		_, err = t.file.Write([]byte{eof})
	}
	return err == nil
}

// unread says whether there is something typed that no program has read.
func (t *terminal) unread() bool {
	waiting := false
	_ = t.control(func(fd int) error {
		slave, err := openPeer(fd)
		if err != nil {
			return err
		}
		defer unix.Close(slave)
		ready := []unix.PollFd{{Fd: int32(slave), Events: unix.POLLIN}}
		_, err = unix.Poll(ready, 0)
		waiting = ready[0].Revents&unix.POLLIN != 0 && ready[0].Revents&unix.POLLHUP == 0
		return err
	})
	return waiting
}

func (t *terminal) resize(s Size) error {
	return t.control(func(fd int) error { return setSize(fd, s) })
}

func (t *terminal) size() (s Size, err error) {
	err = t.control(func(fd int) error {
		w, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		if err == nil {
			s = Size{Rows: w.Row, Cols: w.Col, WidthPX: w.Xpixel, HeightPX: w.Ypixel}
		}
		return err
	})
	return s, err
}

func setSize(master int, s Size) error {
	w := unix.Winsize{Row: s.Rows, Col: s.Cols, Xpixel: s.WidthPX, Ypixel: s.HeightPX}
	return os.NewSyscallError("ioctl(TIOCSWINSZ)", unix.IoctlSetWinsize(master, unix.TIOCSWINSZ, &w))
}
