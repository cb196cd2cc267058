package proc

import (
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
func (in *Input) CopyFrom(src io.WriterTo) (n int64, err error) {
	w := &inputWriter{input: in, poll: lane.PollReader{Raw: in.raw}, wanted: true, afterLine: true}
	_, err = src.WriteTo(w)
	w.poll.Close()
	if err == nil {
		in.end(w.afterLine)
	}
	return w.given, err
}

// Ended reports whether CopyFrom has begun to tell the process that there is no more input. For a
// terminal it does so until Reap.
func (in *Input) Ended() bool { return in.ended.Load() }

// An inputWriter writes for one CopyFrom. It never fails.
type inputWriter struct {
	input     *Input
	poll      lane.PollReader
	given     int64 // bytes that were written
	wanted    bool  // the process may read on
	afterLine bool  // nothing has been written, or a whole line
}

func (w *inputWriter) Write(p []byte) (int, error) {
	if w.wanted && len(p) > 0 { // a write of nothing may end a pipe's reader
		n, err := w.input.file.Write(p)
		w.given += int64(n)
		w.wanted = err == nil
	}
	if len(p) > 0 {
		w.afterLine = p[len(p)-1] == '\n'
	}
	w.poll.Adapt(len(p))
	return len(p), nil
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
