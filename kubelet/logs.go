package kubelet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/virtual-kubelet/virtual-kubelet/errdefs"
	"github.com/virtual-kubelet/virtual-kubelet/node/api"

	"github.com/cocoonstack/cocoon-agent/client"
)

// GetContainerLogs returns what the [Target]'s LogSource prints in the guest, by
// a command that runs as the agent's own user. Closing it, or the end of ctx,
// ends the command. Where the command fails, or output is lost, Read returns the
// error instead of io.EOF; virtual-kubelet then writes its text behind the log.
// An option that the source cannot honour is an errdefs.InvalidInput.
func (p *Pods) GetContainerLogs(
	ctx context.Context, namespace, pod, container string, opts api.ContainerLogOpts,
) (io.ReadCloser, error) {
	t, err := p.resolve(ctx, namespace, pod, container)
	if err != nil {
		return nil, err
	}
	if t.Logs == nil {
		return nil, errdefs.NotFoundf("pod %s/%s has no log", namespace, pod)
	}
	argv, err := t.Logs(opts)
	if err != nil {
		return nil, errdefs.AsInvalidInput(err)
	}
	agent, err := p.agent(ctx, t)
	if err != nil {
		return nil, err
	}
	return openLog(ctx, agent, argv, opts.LimitBytes)
}

// A logReader is the output of a command that prints a log. Its methods are not
// for concurrent use.
type logReader struct {
	cmd    *command
	stdout io.Reader
	stderr complaint
	left   int                // bytes; below 0: no limit
	end    context.CancelFunc // of the context
	waited bool
	err    error // how it has ended
}

func openLog(ctx context.Context, agent *client.Client, argv []string, limit int) (*logReader, error) {
	ctx, end := context.WithCancel(ctx)
	l := &logReader{cmd: newCommand(ctx, agent, argv), left: -1, end: end}
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
	if errors.Is(err, io.EOF) {
		if err = l.wait(); err == nil {
			err = io.EOF
		}
	}
	return n, err
}

// Close ends the command, and waits until it has ended.
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
	l.end()
	if err != nil {
		l.err = fmt.Errorf("read the log: %s: %w%s", l.cmd.Args[0], err, l.stderr.String())
	}
	return l.err
}

// A complaint keeps the beginning of what a command has to complain of.
type complaint struct{ strings.Builder }

const maxComplaint = 1 << 10

func (c *complaint) Write(p []byte) (int, error) {
	if c.Len() == 0 && len(p) > 0 {
		c.WriteString(": ")
	}
	c.Builder.Write(p[:min(len(p), max(0, maxComplaint-c.Len()))])
	return len(p), nil
}
