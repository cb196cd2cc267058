package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/files"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A fileCall is one process in the guest that carries out a request about files.
type fileCall struct {
	ctx  context.Context // of the caller
	cmd  *Cmd
	kill context.CancelFunc // ends the process
	stop func() bool        // lets ctx go
	in   io.WriteCloser
	out  io.ReadCloser
	pull bool // the guest sends, and learns from a closed pipe that nobody reads
}

// abortTime is how long the guest's side has to end by itself when the host gives up. It keeps or
// removes meanwhile what is not complete.
const abortTime = 5 * time.Second

// start has the agent start a process for r. The agent must have the features.
func (f *FS) start(ctx context.Context, r files.Request, features ...string) (*fileCall, error) {
	for _, feature := range features {
		if err := f.client.needs(ctx, feature); err != nil {
			return nil, err
		}
	}
	running, kill := context.WithCancel(context.WithoutCancel(ctx))
	c := &fileCall{ctx: ctx, kill: kill, pull: r.Op != files.Push}
	c.cmd = f.client.CommandContext(running, "files")
	c.cmd.User = f.user
	c.cmd.files = &wire.Files{Op: string(r.Op), Path: r.Path, To: r.To, User: f.user}
	c.in, _ = c.cmd.StdinPipe()
	c.out, _ = c.cmd.StdoutPipe()
	stop := context.AfterFunc(ctx, kill)
	err := c.cmd.Start()
	if !stop() && err == nil { // ctx has ended
		err = errors.Join(ctx.Err(), c.cmd.Wait())
	}
	if err != nil {
		kill()
		return nil, err
	}
	c.stop = context.AfterFunc(ctx, c.abort)
	return c, nil
}

func (c *fileCall) conn() files.Conn { return files.Conn{In: c.in, Out: c.out} }

// abort has the guest's side end. It does not wait, and is idempotent.
func (c *fileCall) abort() {
	_ = c.in.Close()
	if c.pull {
		_ = c.out.Close()
	}
}

// finish waits for the process, and returns what has become of the request. err is what the
// frames said.
func (c *fileCall) finish(err error) error {
	c.stop()
	c.abort()
	late := time.AfterFunc(abortTime, c.kill)
	defer late.Stop()
	defer c.kill()
	exit := c.cmd.Wait()
	switch {
	case err == nil:
		return nil
	case c.ctx.Err() != nil:
		return context.Cause(c.ctx)
	case errors.Is(err, ErrLost):
		return err
	case is[*files.EntryError](err):
		return remoteEntryError(err)
	case errors.Is(exit, ErrLost):
		return exit
	case !c.cmd.ended(), errors.Is(err, files.ErrProtocol):
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	case c.cmd.ProcessState.Signal() != "":
		return fmt.Errorf("the guest's side ended early: %s", c.cmd.ProcessState)
	}
	return err
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// ended reports whether it is known how the process has ended.
func (c *Cmd) ended() bool { return c.ProcessState != nil }
