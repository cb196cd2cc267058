package proc

import (
	"errors"
	"io"
	"os"
	"syscall"
)

// A Source is where input comes from. Await blocks until a Read would not, so
// that a silent source costs no buffer; it returns what Read would return.
type Source interface {
	io.Reader
	Await() error
}

// An Input is the writing end of a process's stdin.
type Input struct {
	file *os.File
	raw  syscall.RawConn

	terminal *terminal // nil: a pipe
}

func newInput(f *os.File) (*Input, error) {
	raw, err := pollable(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Input{file: f, raw: raw}, nil
}

// CopyFrom copies from src until src ends, and returns nil and closes the pipe
// where that is at io.EOF. (A terminal's input is ended until [Process.Reap],
// when CopyFrom returns.) Any other error of src's is returned, and the pipe
// stays open until [Process.Reap]: a process must not take input that was cut
// off for input that has ended. What the process does not read, because it has
// closed its stdin or has exited, is thrown away.
func (in *Input) CopyFrom(src Source) error {
	l := lane{raw: in.raw}
	defer l.close()
	wanted, afterLine := true, true
	for {
		err := src.Await()
		if errors.Is(err, io.EOF) {
			in.end(afterLine)
			return nil
		}
		if err != nil {
			return err
		}
		l.take()
		n, _ := src.Read(l.buffer()) // Await tells of its error
		if n > 0 {
			afterLine = l.buffer()[n-1] == '\n'
		}
		if wanted {
			_, err = in.file.Write(l.buffer()[:n])
			wanted = err == nil
		}
		l.release()
		l.adapt(n)
	}
}

// end tells the process that there is no more.
func (in *Input) end(afterLine bool) {
	if in.terminal != nil {
		in.terminal.endInput(afterLine)
		return
	}
	_ = in.file.Close()
}
