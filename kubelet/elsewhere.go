package kubelet

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/virtual-kubelet/virtual-kubelet/node/api"
)

// A Backend serves kubectl for a pod, with virtual-kubelet's own methods. A [Pods] is one.
type Backend interface {
	RunInContainer(ctx context.Context, namespace, pod, container string, argv []string, attach api.AttachIO) error
	AttachToContainer(ctx context.Context, namespace, pod, container string, attach api.AttachIO) error
	PortForward(ctx context.Context, namespace, pod string, port int32, stream io.ReadWriteCloser) error
	GetContainerLogs(ctx context.Context, namespace, pod, container string, opts api.ContainerLogOpts) (io.ReadCloser, error)
}

var _ Backend = (*Pods)(nil)

// errElsewhere says that the target's own function serves a call, and no agent.
var errElsewhere = errors.New("the pod has no agent: its provider serves it by other means")

// A callerIO hands a caller on. Its Writes still tell whether the caller is there.
type callerIO struct {
	*caller
	from api.AttachIO
}

func (c *caller) io(from api.AttachIO) api.AttachIO { return callerIO{c, from} }

func (c callerIO) TTY() bool                   { return c.tty }
func (c callerIO) Resize() <-chan api.TermSize { return c.resize }

func (c callerIO) Stdin() io.Reader {
	if c.input == nil {
		return nil
	}
	return c.from.Stdin()
}

func (c callerIO) Stdout() io.WriteCloser { return writerOf(c.stdout) }
func (c callerIO) Stderr() io.WriteCloser { return writerOf(c.stderr) }

func writerOf(o *output) io.WriteCloser {
	if o == nil {
		return nil
	}
	return o
}

// A foreignLog is a log that somebody else reads.
type foreignLog struct {
	io.ReadCloser
	ctx   context.Context // ends a Read
	close func() error
}

// openForeign opens a log until it is closed, or ctx ends. done is called then.
func openForeign(ctx context.Context, done func(), open func(context.Context) (io.ReadCloser, error)) (io.ReadCloser, error) {
	r, err := open(ctx)
	if err != nil {
		done()
		return nil, err
	}
	closeOnce := sync.OnceValue(r.Close)
	unlink := context.AfterFunc(ctx, func() { _ = closeOnce() })
	return &foreignLog{r, ctx, func() error {
		unlink()
		defer done()
		return closeOnce()
	}}, nil
}

func (l *foreignLog) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if err != nil && l.ctx.Err() != nil {
		err = context.Cause(l.ctx)
	}
	return n, err
}

func (l *foreignLog) Close() error { return l.close() }
