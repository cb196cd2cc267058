package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"

	"github.com/virtual-kubelet/virtual-kubelet/errdefs"
	"github.com/virtual-kubelet/virtual-kubelet/node/api"

	"github.com/cocoonstack/cocoon-agent/client"
)

// GetContainerLogs returns what the [Target]'s LogSource prints in the guest, by a
// command that runs as the agent's own user. Closing it, or the end of ctx, ends the
// command, and the end of ctx ends a Read that waits, whatever the guest does. If the
// command fails, or output is lost, Read returns the error instead of io.EOF. The error
// has the beginning of the command's standard error, printable; virtual-kubelet then
// writes that text behind the log. An option that the source cannot honour is an
// errdefs.InvalidInput.
func (p *Pods) GetContainerLogs(
	ctx context.Context, namespace, pod, container string, opts api.ContainerLogOpts,
) (io.ReadCloser, error) {
	ctx, done, err := p.calls.begin(ctx)
	if err != nil {
		return nil, err
	}
	var argv []string
	t, agent, err := p.reach(ctx, namespace, pod, container, func(t *Target) (err error) {
		if t.OpenLog != nil {
			return errElsewhere
		}
		if t.Logs == nil && t.Main != nil {
			return checkMainLog(opts)
		}
		if t.Logs == nil {
			return errdefs.NotFoundf("pod %s/%s has no log", namespace, pod)
		}
		argv, err = t.Logs(opts)
		return errdefs.AsInvalidInput(err)
	})
	if errors.Is(err, errElsewhere) {
		return openForeign(ctx, done, func(ctx context.Context) (io.ReadCloser, error) {
			if t.Fallback != nil {
				return t.Fallback.GetContainerLogs(ctx, namespace, pod, container, opts)
			}
			return t.OpenLog(ctx, opts)
		})
	}
	if err != nil {
		done()
		return nil, err
	}
	if t.Logs == nil {
		return limitLog(openMainLog(ctx, done, agent, t.Main, opts), opts.LimitBytes), nil
	}
	return openLog(ctx, done, agent, argv, opts.LimitBytes)
}

// A logReader is the output of a command that prints a log. Its methods are not
// for concurrent use.
type logReader struct {
	cmd    *command
	ctx    context.Context // the caller's, and ends with Close
	stdout io.ReadCloser
	unlink func() bool // stdout from ctx
	stderr complaint
	left   int    // bytes; below 0: no limit
	end    func() // of the context and the call
	waited bool
	err    error // how it has ended
}

func openLog(ctx context.Context, done func(), agent *client.Client, argv []string, limit int) (*logReader, error) {
	end := sync.OnceFunc(done)
	l := &logReader{cmd: newCommand(ctx, agent, argv), ctx: ctx, stderr: complaint{most: maxComplaint}, left: -1, end: end}
	if limit > 0 {
		l.left = limit
	}
	l.cmd.Stderr = &l.stderr
	stdout, err := l.cmd.StdoutPipe()
	if err == nil {
		err = l.cmd.Start()
	}
	if err != nil {
		end()
		return nil, fmt.Errorf("read the log: %w", err)
	}
	l.stdout = stdout
	l.unlink = context.AfterFunc(ctx, func() { _ = stdout.Close() }) // nobody wants the rest
	return l, nil
}

func (l *logReader) Read(b []byte) (int, error) {
	switch {
	case l.left == 0:
		return 0, io.EOF
	case l.left > 0:
		b = b[:min(len(b), l.left)]
	}
	n, err := l.stdout.Read(b)
	if l.left > 0 {
		l.left -= n
	}
	switch {
	case err == nil:
	case l.err != nil:
		err = l.err
	case l.ctx.Err() != nil && !l.waited:
		err = fmt.Errorf("read the log: %w", context.Cause(l.ctx))
	case errors.Is(err, io.EOF):
		if err = l.wait(); err == nil {
			err = io.EOF
		}
	}
	return n, err
}

// Close ends the command, and waits until it has ended, or the guest has had its time
// for that.
func (l *logReader) Close() error {
	l.end()
	_ = l.wait() // ended by us, as a rule
	return nil
}

// wait returns why the log is not all of it, or nil.
func (l *logReader) wait() error {
	if l.waited {
		return l.err
	}
	l.waited = true
	err := l.cmd.Wait()
	l.unlink()
	l.end()
	if err != nil {
		l.err = fmt.Errorf("read the log: %s: %w%s", l.cmd.Args[0], err, l.stderr.text())
	}
	return l.err
}

// A complaint keeps the beginning of what a command has to complain of.
type complaint struct {
	most int // bytes
	said strings.Builder
	cut  bool
}

const maxComplaint = 1 << 10 // bytes

func (c *complaint) Write(p []byte) (int, error) {
	n := min(len(p), c.most-c.said.Len())
	c.said.Write(p[:n])
	c.cut = c.cut || n < len(p)
	return len(p), nil
}

// text returns what was said, for behind an error: it is the guest's, and does nothing
// to a terminal.
func (c *complaint) text() string {
	said := strings.TrimRight(c.said.String(), "\r\n")
	if said == "" {
		return ""
	}
	said = strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return ' '
		case unicode.IsPrint(r):
			return r
		default:
			return unicode.ReplacementChar
		}
	}, said)
	if c.cut {
		said += "…"
	}
	return ": " + said
}
