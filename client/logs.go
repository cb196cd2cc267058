package client

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"
)

// LogOptions say which output [Client.Logs] copies. The zero value is all output that has been
// kept from the beginning, up to now.
type LogOptions struct {
	// From is where the output begins. An offset beyond the end of an output is its end.
	From Position

	// Follow goes on until the command has ended.
	Follow bool

	// Lost is called for output that the guest does not keep any more, with the offsets of
	// its first byte and of the one after its last: Logs leaves it out. It is called
	// between two calls of Write. nil: such output is an error, a [*BehindError].
	Lost func(stream string, from, to uint64)
}

// Logs copies the output of a command that was started with Detach, and that handle names,
// to stdout and stderr. Either may be nil. They may be equal; the order of the two
// outputs is then lost. Logs returns nil when it has copied all, whatever the command's exit
// status is. Other errors are those of [Client.Attach], and ctx's. With a Client of a [Pool] the
// copying survives lost connections.
func (c *Client) Logs(ctx context.Context, handle []byte, stdout, stderr io.Writer, o LogOptions) error {
	exec, err := c.FindExec(ctx, handle)
	if err != nil {
		return err
	}
	from := o.From
	from.Stdout, from.Stderr = min(from.Stdout, exec.StdoutBytes), min(from.Stderr, exec.StderrBytes)
	if exec.TTY {
		stderr = nil // a terminal has one output
	}
	for again := 0; ; again++ {
		from, err = c.logsFrom(ctx, &exec, from, stdout, stderr, o.Follow)
		behind, ok := errors.AsType[*BehindError](err)
		if !ok || behind.Want > behind.Newest || o.Lost == nil {
			return err
		}
		at, to := &from.Stdout, &stdout
		if behind.Stream == stderrName {
			at, to = &from.Stderr, &stderr
		}
		*at = behind.Oldest
		switch {
		case again == 0 || exec.End != "":
		case again < maxLogsAgain || o.Follow: // the command writes on as fast as this is read: leave it room
			*at += (behind.Newest - behind.Oldest) / 2
		default: // what there was in the beginning is gone
			*to, *at = nil, behind.Newest
			again = 0
		}
		o.Lost(behind.Stream, behind.Want, *at)
		if stdout == nil && stderr == nil {
			return nil
		}
	}
}

// maxLogsAgain is how often Logs without Follow tries to get ahead of a command that writes
// faster than its output can be read.
const maxLogsAgain = 5

// logsFrom is Logs until output is missing. It returns the position of the next output.
func (c *Client) logsFrom(ctx context.Context, exec *Exec, from Position, stdout, stderr io.Writer, follow bool) (Position, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := c.Attach(ctx, exec.Handle)
	cmd.From, cmd.WaitDelay = from, time.Second // a Writer may block
	cmd.Outlive.Resume = c.another != nil
	until := &untilNow{exec: exec, wrote: make(chan struct{}, 1)}
	if one := (&serialWriter{to: stdout}); stdout != nil && sameWriter(stdout, stderr) {
		stdout, stderr = one, one
	}
	if stdout != nil {
		cmd.Stdout = until.counting(stdout, &until.stdout)
	}
	if stderr != nil {
		cmd.Stderr = until.counting(stderr, &until.stderr)
	}
	if err := cmd.Start(); err != nil {
		return from, err
	}
	if !follow && exec.End == "" {
		go until.reached(ctx, cmd, stop) // ends with ctx
	}
	err := cmd.Wait()
	at := from
	at.Oldest, at.Now = false, false
	at.Stdout, at.Stderr = cmd.Offsets()
	_, exited := errors.AsType[*ExitError](err)
	if exited || until.all.Load() && errors.Is(err, ErrDetached) {
		return at, nil
	}
	return at, err
}

// An untilNow finds out when as much output has been written as there was in the beginning.
type untilNow struct {
	exec           *Exec
	stdout, stderr atomic.Uint64 // bytes that were written
	wrote          chan struct{} // has a token after a Write
	all            atomic.Bool
}

func (u *untilNow) reached(ctx context.Context, cmd *Cmd, stop func()) {
	stdout, stderr := cmd.FirstOffsets()
	end, endErr := max(cmd.stdoutEnd, u.exec.StdoutBytes), max(cmd.stderrEnd, u.exec.StderrBytes)
	missing := func(wanted bool, begin uint64, n *atomic.Uint64, length uint64) bool {
		return wanted && begin+n.Load() < length
	}
	for missing(cmd.Stdout != nil, stdout, &u.stdout, end) ||
		missing(cmd.Stderr != nil, stderr, &u.stderr, endErr) {
		select {
		case <-u.wrote:
		case <-ctx.Done():
			return
		}
	}
	u.all.Store(true)
	stop()
}

func (u *untilNow) counting(to io.Writer, n *atomic.Uint64) io.Writer {
	return &countingWriter{to: to, n: n, wrote: u.wrote}
}

// A countingWriter counts what is written, and tells of each Write.
type countingWriter struct {
	to    io.Writer
	n     *atomic.Uint64
	wrote chan struct{}
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n.Add(uint64(max(n, 0)))
	select {
	case c.wrote <- struct{}{}:
	default:
	}
	return n, err
}
