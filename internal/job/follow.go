package job

import (
	"errors"
	"io"
	"strings"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// Streams are where a job's input comes from and where its outputs go. Each may be
// nil. An output that the process has and nobody wants is thrown away.
type Streams struct {
	Stdin          io.WriterTo    // see [proc.Input.CopyFrom]
	Stdout, Stderr io.WriteCloser // closed at the end of the output
}

// Follow moves the bytes of the process until it has exited and its outputs have
// ended, and returns the record of that. It is Carry, and then Await.
func (j *Job) Follow(s Streams) *Exit {
	j.Carry(s)
	return j.Await()
}

// Await waits until the process has exited and its outputs have ended, and returns the record
// of that. It is called once, after Carry. It waits with little on its stack: thousands of jobs
// may run.
func (j *Job) Await() *Exit {
	for {
		waitErr := j.process.Wait()
		if exit := j.finish(waitErr); exit != nil {
			return exit
		}
		j.table.park()
		j.stdout.again(&j.pumps)
		j.stderr.again(&j.pumps)
	}
}

// Carry starts the goroutines that move the bytes of the process. It does not wait, and is
// called once.
func (j *Job) Carry(s Streams) {
	if s.Stdin != nil {
		j.startFeeding(s.Stdin)
	}
	if in := j.process.Stdin(); j.TTY && in != nil && in.Ended() { // by the program in whose place this one was executed
		j.goFeed(new(strings.Reader))
	}
	stdout, stderr := j.sinks(s)
	j.stdout.start(&j.pumps, j.process.Stdout(), stdout)
	j.stderr.start(&j.pumps, j.process.Stderr(), stderr)
	if j.process.Stderr() == nil && stderr != nil {
		_ = stderr.Close()
	}
}

// startFeeding starts the goroutine that carries input.
func (j *Job) startFeeding(stdin io.WriterTo) {
	if j.kept != nil {
		j.feedFirst(stdin)
		return
	}
	j.goFeed(stdin)
}

func (j *Job) goFeed(stdin io.WriterTo) {
	j.beginFeeding()
	go func() { // stopped by the end of the stream; Table.Wait waits for it
		defer j.endFeeding()
		j.feed(stdin)
	}()
}

// finish waits for the rest of the output, reaps the process and makes the record. It returns nil
// if the job is suspended.
func (j *Job) finish(waitErr error) *Exit {
	if suspended(waitErr) {
		j.pumps.Wait()
		return nil
	}
	var reason *Reason
	if j.process.Terminated() { // a termination that came after the exit is not its reason
		reason = j.reason.Load()
	}
	linger := j.linger
	if waitErr != nil { // the process may be there for ever
		linger = proc.DrainIdle
	}
	j.process.Drain(linger)
	j.pumps.Wait()
	if !j.table.mayEnd() {
		return nil
	}
	if j.timer != nil { // until here, what the command has left behind may hold its output open
		j.timer.Stop()
	}
	exit, err := j.process.Reap()
	if waitErr != nil {
		err = waitErr
	}
	x := &Exit{
		Exit: exit, Reason: Exited, Err: err,
		Stdout: uint64(j.stdout.taken), Stderr: uint64(j.stderr.taken),
		Cut: j.stdout.cut || j.stderr.cut,
	}
	switch {
	case err != nil:
		x.Code, x.Reason = -1, Lost
	case reason != nil:
		x.Reason = *reason
	case exit.Signal != 0:
		x.Reason = Signaled
	}
	j.table.counters.add(x)
	return x
}

// feed carries input to the process, and throws away what the process does not want,
// so that its sender is not kept waiting. If the stream ends with an error, then the
// process's input stays open: whoever watches the job decides what becomes of it.
func (j *Job) feed(stdin io.WriterTo) {
	n, err := j.process.Stdin().CopyFrom(stdin)
	left, _ := errors.AsType[*proc.LeftError](err)
	switch {
	case err == nil:
		j.endInput()
	case left != nil:
		j.leaveInput(left)
	}
	j.table.counters.stdin.Add(uint64(n))
}
