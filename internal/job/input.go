package job

import (
	"errors"
	"fmt"
	"io"
)

// Feed carries input to a kept job that has started, as its first streams' Stdin is. It
// takes the place of whoever has fed the job so far, or was to. The error is [ErrInput] if the
// command takes no input. Feed does not wait.
func (j *Job) Feed(stdin io.WriterTo) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.inputEndedLocked():
		return fmt.Errorf("%w: the exec's stdin has ended", ErrInput)
	case j.process.Stdin() == nil:
		return fmt.Errorf("%w: the exec was started without stdin", ErrInput)
	default:
		j.feedNextLocked(stdin)
		return nil
	}
}

// inputEndedLocked reports whether the command has been told of the end of its input, or is just
// being told.
func (j *Job) inputEndedLocked() bool {
	in := j.process.Stdin()
	return j.kept.inputEnd || in != nil && in.Ended()
}

// feedFirst is Feed for the stream that came with the request, unless another one has come
// since the start.
func (j *Job) feedFirst(stdin io.WriterTo) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.kept.fed {
		discard(stdin)
		return
	}
	j.feedNextLocked(stdin)
}

// feedNextLocked has the goroutine that feeds the job go on with stdin, or starts it.
func (j *Job) feedNextLocked(stdin io.WriterTo) {
	k := j.kept
	discard(k.feeding)
	discard(k.next)
	k.next, k.fed = stdin, true
	if k.feeding == nil {
		k.feeding, k.next = k.next, nil
		j.beginFeeding()
		go j.feedKept(k.feeding) // stopped by the end of the stream; Table.Wait waits for it
	}
}

// feedKept carries one stream after the other to the job.
func (j *Job) feedKept(stdin io.WriterTo) {
	defer j.endFeeding()
	for stdin != nil {
		if j.Detached() && j.TTY {
			j.feed(typist{stdin})
		} else {
			j.feed(stdin)
		}
		stdin = j.nextFeeding()
	}
}

func (j *Job) nextFeeding() io.WriterTo {
	j.mu.Lock()
	defer j.mu.Unlock()
	k := j.kept
	if k.inputEnd || j.input != nil && j.input.end {
		discard(k.next)
		k.next = nil
	}
	k.feeding, k.next = k.next, nil
	return k.feeding
}

// discard has the WriteTo of a stream fail, if there is one.
func discard(from io.WriterTo) {
	if d, ok := from.(interface{ Discard() }); ok {
		d.Discard()
	}
}

// typedEnd is what is typed into a detached terminal at the end of one host's input: the
// end-of-file character of most.
const typedEnd = 0x04

// A typist is the input of one host for a detached terminal. Its end is typed once, and is
// not the end of the terminal's: another host may type on.
type typist struct{ io.WriterTo }

var errOtherTypists = errors.New("other hosts may type")

func (t typist) WriteTo(w io.Writer) (int64, error) {
	n, err := t.WriterTo.WriteTo(w)
	if err == nil {
		_, _ = w.Write([]byte{typedEnd})
		err = errOtherTypists
	}
	return n, err
}

// endInput takes note that the command has been told of the end of its input.
func (j *Job) endInput() {
	if j.kept == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.kept.inputEnd = true
}
