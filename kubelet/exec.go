package kubelet

import (
	"context"

	"github.com/virtual-kubelet/virtual-kubelet/node/api"
)

// RunInContainer runs a command for kubectl exec, as [Target] says. It returns nil if
// the command exited with code 0 and every byte of its output has been passed on. It
// returns a k8s.io/utils/exec.ExitError if the command ended otherwise or could not be
// executed. Any other error says what has gone wrong; it is [ErrShutdown] if the node
// shuts down. See the package's documentation for the statuses. When the caller goes,
// the command ends, with all that it has started.
func (p *Pods) RunInContainer(ctx context.Context, namespace, pod, container string, argv []string, attach api.AttachIO) error {
	ctx, done, err := p.calls.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	c := newCaller(ctx, attach, p.heartbeat())
	return c.release(p.calls.await(func() error { return p.run(c, namespace, pod, container, argv, attach) }))
}

func (p *Pods) run(c *caller, namespace, pod, container string, argv []string, attach api.AttachIO) error {
	t, agent, err := p.reach(c.ctx, namespace, pod, container, nil)
	if t != nil && t.Fallback != nil {
		return t.Fallback.RunInContainer(c.ctx, namespace, pod, container, argv, c.io(attach))
	}
	if err != nil {
		return err
	}
	tty := c.terminal()
	if left := c.left(); left != nil {
		return left
	}
	cmd := newCommand(c.ctx, agent, argv)
	t.prepare(cmd.Cmd)
	cmd.TTY = tty
	cmd.Outlive.Resume = tty == nil && c.input == nil && t.Resume != nil && t.Resume(argv)
	return c.status(c.carry(cmd))
}

// carry runs cmd with the caller's streams.
func (c *caller) carry(cmd *command) error {
	if c.stdout != nil {
		cmd.Stdout = c.stdout
	}
	if c.stderr != nil {
		cmd.Stderr = c.stderr
	}
	feed := func() {}
	if c.input != nil {
		stdin, err := cmd.StdinPipe() // a copy of our own: who reads the input must know when the caller goes
		if err != nil {
			return err
		}
		feed = func() { c.input.feed(stdin, func() { _ = stdin.Close() }) }
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	feed()
	if c.resize != nil {
		go c.follow(func(s api.TermSize) { // stopped by release: when Wait has returned, Resize does
			_ = cmd.Resize(s.Height, s.Width) // it has ended, or a size is 0
		})
	}
	return cmd.Wait()
}
