package kubelet

import (
	"context"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
)

const (
	// startGrace is how long a command that is being started as its context ends
	// has to have started: until then it cannot be killed.
	startGrace = time.Second

	// killGrace is how long a command has from SIGTERM (with a terminal SIGHUP) to
	// SIGKILL. The agent's own is longer than callers are used to.
	killGrace = 2 * time.Second
)

// A command is a Cmd that is ended, with all that it has started, when a context
// ends. Wait must be called after Start, as ever.
type command struct {
	*client.Cmd

	end     context.CancelFunc // has the agent end it
	started chan struct{}      // closed when it has
	ended   chan struct{}      // closed when it has, or will never start
	unwatch func() bool
}

func newCommand(ctx context.Context, agent *client.Client, argv []string) *command {
	own, end := context.WithCancel(context.WithoutCancel(ctx))
	c := &command{
		Cmd: agent.CommandContext(own, ""), end: end,
		started: make(chan struct{}), ended: make(chan struct{}),
	}
	c.Args = argv
	c.unwatch = context.AfterFunc(ctx, c.stop) // which ends by its time-outs, and when Wait has returned
	return c
}

func (c *command) Start() error {
	err := c.Cmd.Start()
	if err != nil {
		c.release()
		return err
	}
	close(c.started)
	return nil
}

func (c *command) Wait() error {
	defer c.release()
	return c.Cmd.Wait()
}

func (c *command) release() {
	c.unwatch()
	close(c.ended)
	c.end()
}

func (c *command) stop() {
	timer := time.NewTimer(startGrace)
	defer timer.Stop()
	select {
	case <-c.started:
	case <-c.ended:
	case <-timer.C:
		c.end() // and Start fails; if the command starts all the same, the agent ends it
		return
	}
	c.end()
	timer.Reset(killGrace)
	select {
	case <-timer.C:
		_ = c.Kill() // if that fails, the command has ended, or Wait has given up
	case <-c.ended:
	}
}
