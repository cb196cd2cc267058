package kubelet

import (
	"context"
	"fmt"
	"io"

	"github.com/virtual-kubelet/virtual-kubelet/node/api"
)

// AttachToContainer connects kubectl attach to the VM's console, if the [Target] has
// one, or else to its Main command: bytes both ways, until the console or the caller ends. The end of the caller's
// input does not end the console's. A console has no size. The error is nil when the
// console has ended. Other errors are the Resolver's, the console's, those of
// [Target.Attach] and the Fallback, and [ErrShutdown], or say that the VM has no
// console or that the caller has gone.
func (p *Pods) AttachToContainer(ctx context.Context, namespace, pod, container string, attach api.AttachIO) error {
	ctx, done, err := p.calls.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	c := newCaller(ctx, attach, p.heartbeat())
	return c.release(p.calls.await(func() error { return p.attach(c, namespace, pod, container, attach) }))
}

func (p *Pods) attach(c *caller, namespace, pod, container string, attach api.AttachIO) error {
	t, err := p.resolve(c.ctx, namespace, pod, container)
	if err != nil {
		return err
	}
	switch {
	case t.Fallback != nil:
		return t.Fallback.AttachToContainer(c.ctx, namespace, pod, container, c.io(attach))
	case t.Attach != nil:
		return t.Attach(c.ctx, c.io(attach))
	case t.Console == nil && t.Main != nil:
		return p.attachMain(c, namespace, pod, container)
	case t.Console == nil:
		return fmt.Errorf("attach is not supported for pod %s/%s: its VM has no console here; use kubectl exec", namespace, pod)
	}
	console, err := t.Console(c.ctx)
	if err != nil {
		return fmt.Errorf("open the console: %w", err)
	}
	stop := context.AfterFunc(c.ctx, func() { _ = console.Close() }) // which ends the copying
	defer func() {
		if stop() {
			_ = console.Close()
		}
	}()
	if c.input != nil {
		c.input.feed(console, func() {})
	}
	if c.resize != nil {
		go c.follow(func(api.TermSize) {}) // stopped by release; what nobody took would hold up the connection
	}
	to := io.Discard
	if c.stdout != nil {
		to = c.stdout
	}
	if _, err := io.Copy(to, console); err != nil {
		return fmt.Errorf("read the console: %w", err)
	}
	return nil
}
