package proc

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/internal/lane"
)

// pipes are the standard streams of a process that is about to start.
type pipes struct {
	child  [3]uintptr // what the child gets as 0, 1, 2
	opened []int      // those of them to close once it has them

	stdin          *Input  // nil: not wanted
	stdout, stderr *Output // nil: not wanted

	terminal *terminal // nil: none
}

// openStreams makes what the Spec wants.
func (s *Spawner) openStreams(spec Spec, user account) (*pipes, error) {
	if spec.Terminal != nil {
		return openTerminal(*spec.Terminal, user, &s.terminals)
	}
	p, err := openPipes(spec, &s.null)
	if err != nil || user.uid == s.self.uid {
		return p, err
	}
	if err := p.chown(user); err != nil {
		p.closeChild()
		p.closeParent()
		return nil, err
	}
	return p, nil
}

// chown gives the pipes to the user, whose programs may open them by name: /dev/stderr.
func (p *pipes) chown(user account) error {
	for _, fd := range p.opened {
		if err := unix.Fchown(fd, int(user.uid), -1); err != nil {
			return os.NewSyscallError("fchown", err)
		}
	}
	return nil
}

func openPipes(spec Spec, null *nullDevice) (*pipes, error) {
	p := &pipes{}
	var err error
	if !spec.Stdin || !spec.Stdout || !spec.Stderr && !spec.Merge {
		var fd uintptr
		fd, err = null.open()
		p.child = [3]uintptr{fd, fd, fd}
	}
	if spec.Stdin && err == nil {
		p.stdin, err = p.input()
	}
	if spec.Stdout && err == nil {
		p.stdout, err = p.output(1)
	}
	if spec.Merge {
		p.child[2] = p.child[1]
	} else if spec.Stderr && err == nil {
		p.stderr, err = p.output(2)
	}
	if err != nil {
		p.closeChild()
		p.closeParent()
		return nil, err
	}
	return p, nil
}

func (p *pipes) input() (*Input, error) {
	f, err := p.open(0)
	if err != nil {
		return nil, err
	}
	return newInput(f)
}

func (p *pipes) output(fd int) (*Output, error) {
	f, err := p.open(fd)
	if err != nil {
		return nil, err
	}
	return newOutput(f)
}

// open makes the pipe for the child's fd and returns the agent's end of it.
// The child's end blocks, as programs expect; the agent's does not.
func (p *pipes) open(fd int) (*os.File, error) {
	var ends [2]int
	if err := unix.Pipe2(ends[:], unix.O_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	ours, theirs := ends[0], ends[1]
	if fd == 0 {
		ours, theirs = theirs, ours
	}
	p.child[fd] = uintptr(theirs)
	p.opened = append(p.opened, theirs)
	if _, err := unix.FcntlInt(uintptr(ours), unix.F_SETFL, unix.O_NONBLOCK); err != nil {
		_ = unix.Close(ours)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(ours), [...]string{"stdin", "stdout", "stderr"}[fd]), nil
}

// How much a terminal holds, in bytes: TIOCINQ counts what can be read at once. If that is
// all that there is room for, more may wait behind it (TTYB_DEFAULT_MEM_LIMIT).
const (
	readable = 4095
	behind   = 64 << 10
)

// waiting returns at least how many bytes the output holds.
func (o *Output) waiting() int {
	n := lane.Waiting(o.raw)
	if o.exited != nil && n >= readable {
		n += behind
	}
	return n
}

func (p *pipes) closeChild() {
	for _, fd := range p.opened {
		_ = unix.Close(fd)
	}
	p.opened = nil
}

func (p *pipes) closeParent() {
	if p.stdin != nil {
		_ = p.stdin.file.Close()
	}
	for _, o := range []*Output{p.stdout, p.stderr} {
		if o != nil {
			_ = o.file.Close()
		}
	}
}

func newInput(f *os.File) (*Input, error) {
	raw, err := pollable(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Input{file: f, raw: raw}, nil
}

func newOutput(f *os.File) (*Output, error) {
	raw, err := pollable(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Output{file: f, raw: raw}, nil
}

// newTerminalOutput makes the output of a terminal, whose file is not its own.
func newTerminalOutput(f *os.File, raw syscall.RawConn) *Output {
	return &Output{file: f, raw: raw, exited: make(chan struct{})}
}

// pollable returns what waits for f in the runtime's poller. The kernel may refuse
// to poll f: it has no memory, or epoll(7)'s max_user_watches is reached.
func pollable(f *os.File) (syscall.RawConn, error) {
	if errors.Is(f.SetDeadline(time.Time{}), os.ErrNoDeadline) {
		return nil, fmt.Errorf("%s: %w: epoll refused it (fs.epoll.max_user_watches, or out of memory)", f.Name(), ErrResources)
	}
	return f.SyscallConn()
}
