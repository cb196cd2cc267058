package proc

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/cocoonstack/cocoon-agent/internal/lane"
)

// An Input is the writing end of a process's stdin.
type Input struct {
	file *os.File
	raw  syscall.RawConn

	terminal *terminal   // nil: a pipe
	ended    atomic.Bool // the process has been told of the end, or is being told
}

// CopyFrom copies from src until src ends, when its WriteTo returns nil: then CopyFrom
// closes the pipe and returns nil. (A terminal's input is ended until [Process.Reap],
// when CopyFrom returns.) If src fails, CopyFrom returns its error and leaves the pipe
// open until Reap: a process must not take input that was cut off for input that has
// ended. If the process has closed its stdin or has exited, the rest of the input is
// thrown away. n is how many bytes it was given.
//
// If the process is suspended before it has taken all of src, the error is a [*LeftError].
func (in *Input) CopyFrom(src io.WriterTo) (n int64, err error) {
	w := &inputWriter{input: in, poll: lane.PollReader{Raw: in.raw}, wanted: true, afterLine: true}
	_, err = src.WriteTo(w)
	w.poll.Close()
	switch {
	case len(w.left) > 0:
		err = &LeftError{Input: w.left, End: err == nil}
	case err == nil:
		in.end(w.afterLine)
	}
	return w.given, err
}

// Ended reports whether CopyFrom has begun to tell the process that there is no more input. For a
// terminal it does so until Reap.
func (in *Input) Ended() bool { return in.ended.Load() }

// A LeftError has input that a process has not taken because it was suspended. It is an
// [ErrSuspended].
type LeftError struct {
	Input []byte
	End   bool // nothing comes behind it
}

func (e *LeftError) Error() string { return ErrSuspended.Error() + " before it has taken its input" }

func (e *LeftError) Unwrap() error { return ErrSuspended }

// An inputWriter writes for one CopyFrom. It never fails.
type inputWriter struct {
	input     *Input
	poll      lane.PollReader
	given     int64  // bytes that were written
	wanted    bool   // the process may read on
	left      []byte // see [LeftError]
	afterLine bool   // nothing has been written, or a whole line
}

func (w *inputWriter) Write(p []byte) (int, error) {
	if w.wanted && len(p) > 0 { // a write of nothing may end a pipe's reader
		w.give(p)
	}
	if len(p) > 0 {
		w.afterLine = p[len(p)-1] == '\n'
	}
	w.poll.Adapt(len(p))
	return len(p), nil
}

// give writes p, or leaves it if the process is suspended.
func (w *inputWriter) give(p []byte) {
	if len(w.left) > 0 {
		w.left = append(w.left, p...)
		return
	}
	n, err := w.input.file.Write(p)
	w.given += int64(n)
	if errors.Is(err, os.ErrDeadlineExceeded) { // Suspend's
		w.left = append(w.left, p[n:]...)
	} else {
		w.wanted = err == nil
	}
}

// end tells the process that there is no more.
func (in *Input) end(afterLine bool) {
	in.ended.Store(true)
	if in.terminal != nil {
		in.terminal.endInput(afterLine)
		return
	}
	_ = in.file.Close()
}
