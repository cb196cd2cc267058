package proc

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// signalJob sends sig to the process group in the foreground of the terminal,
// which has, or had, that number. The number alone says nothing: the terminal keeps
// it when the last process of the group has gone, and the next process that gets
// it as a pid may be anybody's.
func (p *Process) signalJob(group int, sig syscall.Signal) error {
	switch group {
	case 0: // nothing is in the foreground
		return p.signalGroup(sig)
	case p.pid:
		if typed(sig) {
			return p.terminal.signal(sig)
		}
		return p.signalGroup(sig)
	}
	job := p.tree().job(group)
	if len(job) > 0 && typed(sig) {
		return p.terminal.signal(sig)
	}
	if err := sendAll(job, sig); !errors.Is(err, unix.ESRCH) {
		return killError(err)
	}
	return p.signalGroup(sig) // the job has ended
}

// typed reports whether a terminal's keys can send sig. The kernel takes those
// three from a master (pty_signal, drivers/tty/pty.c).
func typed(sig syscall.Signal) bool {
	return sig == unix.SIGINT || sig == unix.SIGQUIT || sig == unix.SIGTSTP
}

// signal has the kernel send sig to what is in the foreground, as if the key for
// it had been pressed, except that nothing is flushed: it knows the group by
// more than its number. There is no error if the group is empty.
func (t *terminal) signal(sig syscall.Signal) error {
	return t.control(func(fd int) error {
		return os.NewSyscallError("ioctl(TIOCSIG)", unix.IoctlSetInt(fd, unix.TIOCSIG, int(sig)))
	})
}
