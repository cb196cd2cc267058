package kubelet

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"

	"github.com/cocoonstack/cocoon-agent/client"
)

// PortForward connects stream, which is one connection of kubectl port-forward, to a
// port of the guest's loopback interface: bytes both ways, and the end of each way by
// itself. It returns when both have ended, or one has failed. When the caller goes, so
// does the connection in the guest, and the error says that the caller has gone. Other
// errors are the Resolver's, the pool's, the Fallback's, [ErrShutdown], or a
// [*client.RemoteError]: the guest refuses the port, or breaks the connection off.
func (p *Pods) PortForward(ctx context.Context, namespace, pod string, port int32, stream io.ReadWriteCloser) error {
	ctx, done, err := p.calls.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	out := &output{to: stream, failed: func(err error) { end(&goneError{err}) }}
	go out.watch(ctx, p.heartbeat()) // stopped by end; its Write by the end of the connection
	t, guest, err := p.dialGuest(ctx, namespace, pod, port)
	switch {
	case err == nil:
		err = forward(ctx, guest, stream, out)
	case t != nil && t.Fallback != nil:
		err = t.Fallback.PortForward(ctx, namespace, pod, port, outputStream{stream, out})
	}
	discard(stream)
	if cause := context.Cause(ctx); errors.Is(cause, ErrShutdown) || errors.As(cause, new(*goneError)) {
		return cause
	}
	return err
}

func (p *Pods) dialGuest(ctx context.Context, namespace, pod string, port int32) (*Target, net.Conn, error) {
	t, agent, err := p.reach(ctx, namespace, pod, "", nil)
	if err != nil {
		return t, nil, err
	}
	guest, err := agent.DialGuest(ctx, "tcp", net.JoinHostPort("localhost", strconv.Itoa(int(port))))
	if remote, ok := errors.AsType[*client.RemoteError](err); ok {
		return t, nil, remote // virtual-kubelet names the port
	}
	return t, guest, err
}

// An outputStream is a caller's stream whose Writes tell whether the caller is there.
type outputStream struct {
	io.Reader
	io.WriteCloser
}

// forward carries bytes both ways until both have ended.
func forward(ctx context.Context, guest net.Conn, in io.Reader, out io.WriteCloser) error {
	stop := context.AfterFunc(ctx, func() { _ = guest.Close() })
	defer stop()
	defer guest.Close()
	ended := make(chan struct{})
	go func() { // stopped by the end of the input, which discard brings about
		defer close(ended)
		if _, err := io.Copy(guest, in); err == nil {
			_ = guest.(interface{ CloseWrite() error }).CloseWrite()
		} // else reading from it tells
	}()
	if _, err := io.Copy(out, guest); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	select {
	case <-ended:
	case <-ctx.Done():
	}
	return nil
}

// discard throws away what the caller still sends. virtual-kubelet leaves that
// unread, and what is not read holds up all other connections of the caller's.
func discard(stream io.Closer) {
	if s, ok := stream.(interface{ Reset() error }); ok { // of SPDY
		_ = s.Reset()
	}
}
