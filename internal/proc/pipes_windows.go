package proc

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/cocoonstack/cocoon-agent/internal/lane"
)

// pipes are the standard streams of a process that is about to start.
type pipes struct {
	child  [3]windows.Handle // what the child gets as its standard handles; 0: its terminal's
	opened []windows.Handle  // those to close once it has them

	stdin          *Input  // nil: not wanted
	stdout, stderr *Output // nil: not wanted

	terminal *terminal // nil: none
}

func (s *Spawner) openStreams(spec Spec) (*pipes, error) {
	if spec.Terminal != nil {
		return openTerminal(*spec.Terminal)
	}
	p := &pipes{}
	err := p.open(spec)
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *pipes) open(spec Spec) (err error) {
	if !spec.Stdin || !spec.Stdout || !spec.Stderr && !spec.Merge {
		null, err := openNull()
		if err != nil {
			return err
		}
		p.opened = append(p.opened, null)
		p.child = [3]windows.Handle{null, null, null}
	}
	if spec.Stdin {
		if p.stdin, err = p.input(); err != nil {
			return err
		}
	}
	if spec.Stdout {
		if p.stdout, err = p.output(1); err != nil {
			return err
		}
	}
	if spec.Merge {
		p.child[2] = p.child[1]
	} else if spec.Stderr {
		p.stderr, err = p.output(2)
	}
	return err
}

func (p *pipes) input() (*Input, error) {
	file, theirs, err := openPipe("stdin", true)
	if err != nil {
		return nil, err
	}
	p.child[0], p.opened = theirs, append(p.opened, theirs)
	return newInput(file)
}

func (p *pipes) output(stream int) (*Output, error) {
	file, theirs, err := openPipe([...]string{1: "stdout", 2: "stderr"}[stream], false)
	if err != nil {
		return nil, err
	}
	p.child[stream], p.opened = theirs, append(p.opened, theirs)
	return newOutput(file)
}

func newInput(f *os.File) (*Input, error) {
	raw, err := lane.Pipe(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Input{file: f, raw: raw}, nil
}

func newOutput(f *os.File) (*Output, error) {
	raw, err := lane.Pipe(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Output{file: f, raw: raw}, nil
}

// pipeSize is how many bytes a pipe holds, as on Linux.
const pipeSize = 64 << 10

// openPipe makes a pipe, for the child to read or to write. The agent's end overlaps, so that no
// thread waits for it; the child's does not, as programs expect. An anonymous pipe cannot have
// the one without the other.
func openPipe(what string, childReads bool) (*os.File, windows.Handle, error) {
	name, err := pipeName()
	if err != nil {
		return nil, 0, err
	}
	ours, theirs := uint32(windows.PIPE_ACCESS_INBOUND), uint32(windows.GENERIC_WRITE|windows.FILE_READ_ATTRIBUTES)
	if childReads {
		ours, theirs = windows.PIPE_ACCESS_OUTBOUND, windows.GENERIC_READ|windows.FILE_WRITE_ATTRIBUTES
	}
	private, err := ownerOnly()
	if err != nil {
		return nil, 0, err
	}
	server, err := windows.CreateNamedPipe(name,
		ours|windows.FILE_FLAG_FIRST_PIPE_INSTANCE|windows.FILE_FLAG_OVERLAPPED,
		windows.PIPE_TYPE_BYTE|windows.PIPE_READMODE_BYTE|windows.PIPE_WAIT|windows.PIPE_REJECT_REMOTE_CLIENTS,
		1, pipeSize, pipeSize, 0, private)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", what, os.NewSyscallError("CreateNamedPipe", err))
	}
	client, err := windows.CreateFile(name, theirs, 0, inherited(), windows.OPEN_EXISTING, 0, 0)
	if err != nil {
		_ = windows.CloseHandle(server)
		return nil, 0, fmt.Errorf("%s: %w", what, os.NewSyscallError("CreateFile", err))
	}
	return os.NewFile(uintptr(server), what), client, nil
}

// pipeName is one that nobody can guess.
func pipeName() (*uint16, error) {
	var unique [16]byte
	_, _ = rand.Read(unique[:]) // never fails
	return windows.UTF16PtrFromString(`\\.\pipe\cocoon-agent-` + hex.EncodeToString(unique[:]))
}

// ownerOnly lets nobody but the agent's own user open what is made with it.
func ownerOnly() (*windows.SecurityAttributes, error) {
	d, err := windows.SecurityDescriptorFromString("D:P(A;;GA;;;OW)")
	if err != nil {
		return nil, fmt.Errorf("security descriptor: %w", err)
	}
	a := &windows.SecurityAttributes{SecurityDescriptor: d}
	a.Length = uint32(unsafe.Sizeof(*a))
	return a, nil
}

// inherited makes a handle one that a child can be given.
func inherited() *windows.SecurityAttributes {
	a := &windows.SecurityAttributes{InheritHandle: 1}
	a.Length = uint32(unsafe.Sizeof(*a))
	return a
}

func openNull() (windows.Handle, error) {
	h, err := windows.CreateFile(windows.StringToUTF16Ptr("NUL"), windows.GENERIC_READ|windows.GENERIC_WRITE,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE, inherited(), windows.OPEN_EXISTING, 0, 0)
	return h, os.NewSyscallError("CreateFile(NUL)", err)
}

// handles are those that the child inherits, each once.
func (p *pipes) handles() []windows.Handle {
	list := slices.Clone(p.child[:])
	slices.Sort(list)
	return slices.DeleteFunc(slices.Compact(list), func(h windows.Handle) bool { return h == 0 })
}

func (p *pipes) closeChild() {
	for _, h := range p.opened {
		_ = windows.CloseHandle(h)
	}
	p.opened = nil
}

// close closes all ends.
func (p *pipes) close() {
	p.closeChild()
	if p.stdin != nil {
		_ = p.stdin.file.Close()
	}
	for _, o := range []*Output{p.stdout, p.stderr} {
		if o != nil {
			_ = o.file.Close()
		}
	}
	if p.terminal != nil {
		p.terminal.close()
	}
}

// waiting returns how many bytes the output holds.
func (o *Output) waiting() int { return lane.Waiting(o.raw) }
