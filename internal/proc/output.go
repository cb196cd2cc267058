package proc

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
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
	unwanted atomic.Bool // HangUp was called

	suspended atomic.Bool
	rest      []byte // was read, and w has not taken it. CopyTo's, or nobody's

	mu    sync.Mutex
	until time.Time // when it is cut once it is drained; zero: never

	// exited is closed when draining is set. Of a terminal only; nil: a pipe.
	exited chan struct{}
}

// CopyTo copies all output to w and closes the pipe. It returns how many bytes
// w has taken, and whether it stopped before the end of the output, as
// [Process.Drain] says.
// The error is w's; output that w did not take is thrown away, so that the
// process does not block.
//
// If the process is suspended, the error is [ErrSuspended]. The pipe is then open, and the next
// CopyTo goes on with the next byte. A w that returns that error gets what it did not take
// once more.
//
// While the output is silent no buffer is held; a w that blocks holds one.
func (o *Output) CopyTo(w io.Writer) (n int64, cut bool, err error) {
	r := &reader{output: o, to: w, poll: lane.PollReader{Raw: o.raw}}
	b := o.rest
	o.rest = nil
	for err == nil {
		if err = r.give(b); err == nil {
			b, err = r.next()
		}
	}
	return r.end(err)
}

// ErrSuspended is returned by what waits for a process that is suspended.
var ErrSuspended = errors.New("the process is suspended")

// interrupted reports whether a reader has something else to do than to read.
func (o *Output) interrupted() bool { return o.unwanted.Load() || o.suspended.Load() }

// HangUp closes the reading end of a pipe, as if its reader had gone: CopyTo ends, and whoever
// writes to the pipe gets SIGPIPE. It leaves a terminal as it is. It does not wait.
func (o *Output) HangUp() {
	if o.exited == nil {
		o.unwanted.Store(true)
		_ = o.file.SetReadDeadline(time.Unix(1, 0)) // wakes a reader
	}
}

// drain makes CopyTo stop at the first silence, or when linger is over. 0: at the end of
// the output.
func (o *Output) drain(linger time.Duration) {
	o.shorten(linger)
	if !o.draining.Swap(true) && o.exited != nil {
		close(o.exited)
	}
	_ = o.file.SetReadDeadline(time.Unix(1, 0)) // wakes a reader, who sets its own
}

// shorten bounds how long the output is copied once it is drained, from now.
func (o *Output) shorten(linger time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	until := time.Now().Add(linger)
	if linger > 0 && (o.until.IsZero() || until.Before(o.until)) {
		o.until = until
	}
}

// over is until when the output is copied; zero: to its end.
func (o *Output) over() time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.until
}

// A reader reads an Output on behalf of one CopyTo. Its fields take the place of variables on the
// stack of the goroutine, which is twice as large if these do not fit.
type reader struct {
	output *Output
	poll   lane.PollReader

	to    io.Writer
	taken int64 // bytes that it has taken
	toErr error // its error: nothing more is written to it

	drains bool // the output is being drained
	held   int  // what it held then, as far as that has not been read, in bytes
	last   bool // its time is over, and held is what it held at that moment
}

// give hands b to the Writer, unless that has failed, and lets go of it. The error is
// [ErrSuspended] if that is the Writer's: then the Output keeps the rest of b.
func (r *reader) give(b []byte) error {
	defer r.poll.Release()
	if len(b) == 0 || r.toErr != nil {
		return nil
	}
	n, err := r.to.Write(b)
	r.taken += int64(n)
	if errors.Is(err, ErrSuspended) {
		r.output.rest = bytes.Clone(b[n:])
		return err
	}
	r.toErr = err
	return nil
}

// end returns the results of CopyTo, which ends with err.
func (r *reader) end(err error) (n int64, cut bool, _ error) {
	suspended := errors.Is(err, ErrSuspended)
	r.close(suspended)
	if suspended {
		return r.taken, false, err
	}
	return r.taken, errors.Is(err, os.ErrDeadlineExceeded), r.toErr
}

// next returns what comes next. It is valid until poll's Release. The error is io.EOF,
// os.ErrDeadlineExceeded if the output is cut, or the pipe's.
func (r *reader) next() ([]byte, error) {
	for {
		switch {
		case r.output.unwanted.Load():
			return nil, io.EOF
		case r.output.suspended.Load():
			return nil, ErrSuspended
		}
		b, err := r.await()
		switch {
		case errors.Is(err, errAgain), errors.Is(err, syscall.EIO) && r.awaitReopening():
			continue
		case errors.Is(err, syscall.EIO):
			return nil, io.EOF
		}
		r.held -= len(b)
		return b, err
	}
}

var errAgain = errors.New("read again")

// await is next, but for what is to be read again.
func (r *reader) await() ([]byte, error) {
	if r.output.draining.Load() {
		return r.drain()
	}
	b, err := r.poll.Next()
	if errors.Is(err, os.ErrDeadlineExceeded) { // Output.drain's
		err = errAgain
	}
	return b, err
}

// drain is await once the main process has exited.
func (r *reader) drain() ([]byte, error) {
	if !r.drains {
		r.drains, r.held = true, r.output.waiting()
	}
	until := r.output.over()
	if until.IsZero() {
		_ = r.output.file.SetReadDeadline(time.Time{})
		if !r.output.over().IsZero() || r.output.interrupted() { // their deadlines may have come before this one
			return nil, errAgain
		}
		b, err := r.poll.Next()
		if errors.Is(err, os.ErrDeadlineExceeded) { // Output.drain's
			err = errAgain
		}
		return b, err
	}
	begun := time.Now()
	patience := min(DrainIdle, until.Sub(begun))
	if r.held > 0 {
		patience = max(patience, reopeningInterval) // a terminal's comes in parts
	}
	if patience > 0 {
		_ = r.output.file.SetReadDeadline(begun.Add(patience))
		if r.output.interrupted() { // HangUp's or suspend's deadline may have come before this one
			return nil, errAgain
		}
		b, err := r.poll.Next()
		switch {
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return b, err
		case time.Since(begun) < patience: // Output.drain's own deadline wakes us too
			return nil, errAgain
		}
	}
	// Time in which the agent itself was held up does not count as silence: it may be
	// this goroutine that had no CPU, or a whole VM.
	if patience <= 0 && !r.last {
		r.last, r.held = true, r.output.waiting()
		return nil, errAgain
	}
	b, err := r.poll.TryNext()
	if patience <= 0 && err == nil {
		r.poll.Release()
		return nil, os.ErrDeadlineExceeded
	}
	return b, err
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
// process that still runs. It leaves open what is suspended.
func (r *reader) close(suspended bool) {
	r.poll.Close()
	if r.output.exited == nil && !suspended {
		_ = r.output.file.Close()
	}
}
