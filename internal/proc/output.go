package proc

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/lane"
)

// An Output is the reading end of a process's stdout or stderr.
type Output struct {
	file     *os.File
	raw      syscall.RawConn
	draining atomic.Bool // the main process has exited

	// exited is closed when draining is set. Of a terminal only; nil: a pipe.
	exited chan struct{}
}

// CopyTo copies all output to w and closes the pipe. It returns how many bytes
// w has taken, and whether it stopped because the output, after
// [Process.Drain], was silent for [DrainIdle] with its writers still there.
// The error is w's; output that w did not take is thrown away, so that the
// process does not block.
//
// While the output is silent no buffer is held; a w that blocks holds one.
func (o *Output) CopyTo(w io.Writer) (n int64, cut bool, err error) {
	r := reader{output: o, lane: lane.Lane{Raw: o.raw}}
	defer r.close()
	for {
		b, readErr := r.next()
		if readErr != nil {
			return n, errors.Is(readErr, os.ErrDeadlineExceeded), err
		}
		if err == nil {
			var wrote int
			wrote, err = w.Write(b)
			n += int64(wrote)
		}
		r.lane.Release()
	}
}

// drain makes CopyTo stop at the first silence.
func (o *Output) drain() {
	if !o.draining.Swap(true) && o.exited != nil {
		close(o.exited)
	}
	_ = o.file.SetReadDeadline(time.Unix(1, 0)) // wakes a reader, who sets its own
}

// A reader reads an Output on behalf of one CopyTo.
type reader struct {
	output *Output
	lane   lane.Lane
}

// next returns what comes next. It is valid until the lane's Release. The error is io.EOF,
// os.ErrDeadlineExceeded after a silence, or the pipe's.
func (r *reader) next() ([]byte, error) {
	for {
		var silentSince time.Time
		if r.output.draining.Load() {
			silentSince = time.Now()
			_ = r.output.file.SetReadDeadline(silentSince.Add(DrainIdle))
		}
		b, err := r.lane.Next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			// drain's own deadline wakes us too: it is no silence.
			if silentSince.IsZero() || time.Since(silentSince) < DrainIdle {
				continue
			}
			// Nor is it one that the agent was held up itself: it may be this
			// goroutine that had no CPU, or a whole VM.
			b, err = r.lane.TryNext()
		}
		switch {
		case errors.Is(err, syscall.EIO) && r.awaitReopening():
			continue
		case errors.Is(err, syscall.EIO):
			return nil, io.EOF
		}
		return b, err
	}
}

// reopeningInterval is how often a terminal that nobody has open is looked at.
const reopeningInterval = 20 * time.Millisecond

// awaitReopening is called when nobody has the terminal open, which a read says
// by EIO. While the main process lives that does not end the output: many programs close their
// standard streams just before they exit, and any may open its terminal again by
// the name of /dev/tty. The answer is whether to read again.
func (r *reader) awaitReopening() bool {
	if r.output.draining.Load() {
		return false
	}
	again := time.NewTimer(reopeningInterval)
	defer again.Stop()
	select {
	case <-again.C:
	case <-r.output.exited: // what was written before is read
	}
	return true
}

// close leaves a terminal open, until Reap: closing it would hang up on a
// process that still runs.
func (r *reader) close() {
	r.lane.Close()
	if r.output.exited == nil {
		_ = r.output.file.Close()
	}
}
