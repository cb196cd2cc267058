package kubelet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/virtual-kubelet/virtual-kubelet/errdefs"
	"github.com/virtual-kubelet/virtual-kubelet/node/api"

	"github.com/cocoonstack/cocoon-agent/client"
)

// attachMain connects the caller to the pod's main command. The caller's end leaves the
// command alone.
func (p *Pods) attachMain(c *caller, namespace, pod, container string) error {
	t, agent, err := p.reach(c.ctx, namespace, pod, container, nil)
	if err != nil {
		return err
	}
	exec, err := mainOf(c.ctx, agent, t.Main)
	if err != nil {
		return err
	}
	cmd := agent.Attach(c.ctx, t.Main)
	cmd.From.Now, cmd.Redraw = true, client.RedrawAuto
	if c.stdout != nil {
		cmd.Stdout = c.stdout
	}
	if c.stderr != nil && !exec.TTY {
		cmd.Stderr = c.stderr
	}
	feed := func() {}
	if c.input != nil {
		to := io.Discard
		if exec.Input {
			stdin, err := cmd.StdinPipe()
			if err != nil {
				return err
			}
			to = stdin
		}
		feed = func() { c.input.feed(to, func() {}) } // the end of the caller's input is not the command's
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	feed()
	if c.resize != nil {
		go c.follow(func(s api.TermSize) { // stopped by release
			_ = cmd.Resize(s.Height, s.Width) // it has ended, or has no terminal
		})
	}
	err = cmd.Wait()
	if errors.Is(err, client.ErrDetached) {
		return context.Cause(c.ctx)
	}
	return c.status(err)
}

// mainOf returns the agent's description of a main command.
func mainOf(ctx context.Context, agent *client.Client, handle []byte) (client.Exec, error) {
	exec, err := agent.FindExec(ctx, handle)
	if remote, ok := errors.AsType[*client.RemoteError](err); ok && remote.Kind == client.NotFound {
		return exec, errdefs.NotFound("the main command is not kept in the VM any more")
	}
	return exec, err
}

// checkMainLog returns an error for options that a main command's log cannot honour.
func checkMainLog(o api.ContainerLogOpts) error {
	all := []error{noPrevious(o), noTimes(o, "a command's output")}
	if o.Follow && o.Tail > 0 {
		all = append(all, errors.New("--tail with --follow is not supported: the log is a command's output"))
	}
	return errdefs.AsInvalidInput(errors.Join(all...))
}

// A mainLog is the output of a main command, as far as it is kept. Its methods are not for
// concurrent use.
type mainLog struct {
	*io.PipeReader
	end  func() // of the copying and the call
	over chan struct{}
}

func openMainLog(ctx context.Context, done func(), agent *client.Client, handle []byte, o api.ContainerLogOpts) io.ReadCloser {
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	l := &mainLog{PipeReader: r, over: make(chan struct{}), end: sync.OnceFunc(func() { cancel(); done() })}
	go l.copy(ctx, w, agent, handle, o) // stopped by Close, ctx, or the end of the log
	return l
}

func (l *mainLog) copy(ctx context.Context, w *io.PipeWriter, agent *client.Client, handle []byte, o api.ContainerLogOpts) {
	defer close(l.over)
	defer l.end()
	stop := context.AfterFunc(ctx, func() { _ = w.CloseWithError(fmt.Errorf("read the log: %w", context.Cause(ctx))) })
	defer stop()
	var to io.Writer = w
	var last tail
	if o.Tail > 0 {
		last.lines, to = o.Tail, &last
	}
	err := agent.Logs(ctx, handle, to, to, client.LogOptions{
		Follow: o.Follow, Lost: func(string, uint64, uint64) {}, // as of a log that was rotated
	})
	if err == nil && o.Tail > 0 {
		_, err = w.Write(last.text())
	}
	if err != nil {
		err = fmt.Errorf("read the log: %w", err)
	}
	_ = w.CloseWithError(err) // nil is io.EOF
}

// Close ends the copying, and waits for that.
func (l *mainLog) Close() error {
	err := l.PipeReader.Close()
	l.end()
	<-l.over
	return err
}

// limitLog ends a log after a number of bytes; 0: it does not.
func limitLog(log io.ReadCloser, most int) io.ReadCloser {
	if most <= 0 {
		return log
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(log, int64(most)), log}
}

// A tail keeps the last lines of what is written to it: of some MiB, as the guest keeps no
// more of each output.
type tail struct {
	lines int
	buf   []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if len(t.buf) > 2*client.MaxRing {
		t.buf = slices.Clone(t.text())
	}
	return len(p), nil
}

func (t *tail) text() []byte {
	at := len(t.buf)
	for n := t.lines; n > 0 && at > 0; n-- {
		at = bytes.LastIndexByte(t.buf[:at-1], '\n') + 1
	}
	return t.buf[at:]
}
