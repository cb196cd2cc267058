package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// Wait waits for the command to end and for its output to have been copied to Stdout
// and Stderr. Call it once, after Start has returned nil. [Cmd.WaitDelay] says how long
// it waits.
//
// It returns nil if the command exited by itself, with code 0, and no byte of output is
// missing. Otherwise it returns the error of a Writer or the Reader that failed, an
// [*OutputLimitError], an [*ExitError], a [*TruncatedError], a [*LostExitError], a
// [*BehindError], or one that wraps [ErrWaitDelay] or [ErrDetached]. If the context ended the command, the error wraps the
// context's too, even though the command may have exited with code 0.
//
// Read the pipes of StdoutPipe and StderrPipe to the end first, or close them, as with
// os/exec. A command whose output nobody reads does not end. Output that a pipe still
// holds when Wait returns is lost, and Wait's error is then a [*TruncatedError], unless
// there is another one.
func (c *Cmd) Wait() error {
	if c.stopWatch == nil {
		return errors.New("client: not started")
	}
	if c.waited {
		return errors.New("client: Wait was already called")
	}
	c.waited = true
	err := c.wait()
	c.client.commands.count(waitOutcome(err))
	return err
}

// wait is Wait, once.
func (c *Cmd) wait() error {
	defer c.finish()
	p := &patience{cmd: c, ending: c.ending}
	exited, err := c.awaitExit(p)
	if c.resuming != nil {
		c.resuming.end()
	}
	if err == nil && exited.Reason != wire.ReasonLost {
		c.ProcessState = newProcessState(c.pid, exited, c.call.Load().link.hello)
	}
	// The ends of the outputs came before exited: what has not ended by now is
	// not waited for.
	for _, o := range c.outputs {
		o.from.Load().SetReadDeadline(time.Unix(1, 0))
	}
	switch {
	case errors.Is(err, ErrWaitDelay):
		p.over = time.After(lastWrite)
	case p.ending != nil && c.WaitDelay != 0:
		p.begin()
	}
	copied := c.awaitCopies(p)
	_, behind := errors.AsType[*BehindError](err)
	switch {
	case behind, errors.Is(err, ErrDetached) && c.copyError() == nil:
		return err
	case errors.Is(err, ErrDetached):
		return fmt.Errorf("%w; %w", c.copyError(), err)
	case err != nil:
		return &LostExitError{PID: c.pid, Err: c.afterLimit(err)}
	case exited.Reason == wire.ReasonLost:
		return &LostExitError{PID: c.pid, Err: lostBecause(exited)}
	case c.copyError() != nil:
		return c.copyError()
	case copied != nil:
		return copied
	}
	return c.verdict(exited)
}

// lostBecause returns why the agent does not know how a command ended.
func lostBecause(exited *wire.Exited) error {
	return errors.New(cmp.Or(printable(exited.Message, maxMessage), "the agent could not determine it"))
}

// lastWrite is how long a Write of the caller's that is under way may take when
// WaitDelay is over. One that takes longer goes on after Wait.
const lastWrite = 100 * time.Millisecond

// idlePipe is how long nobody may read a pipe of a command that is being ended
// before what it holds is thrown away: the agent reports an exit only after the
// output.
const idlePipe = 200 * time.Millisecond

// A patience is how long Wait waits: for ever, until the command is being
// ended, and then for WaitDelay.
type patience struct {
	cmd    *Cmd
	ending <-chan struct{} // nil once it has been seen
	over   <-chan time.Time
	idle   <-chan time.Time // from when the pipes are looked at
}

func (p *patience) begin() {
	p.ending = nil
	p.over = time.After(p.cmd.waitDelay())
	if len(p.cmd.pipes) > 0 {
		p.idle = time.Tick(idlePipe)
	}
}

// dropPipes throws away the pipes that nobody has read since the last call.
func (p *patience) dropPipes() {
	for _, pipe := range p.cmd.pipes {
		if pipe.unread() {
			pipe.drop()
		}
	}
}

// waitDelay is for how long a command that is being ended is waited for.
func (c *Cmd) waitDelay() time.Duration {
	if c.WaitDelay == 0 {
		return DefaultWaitDelay
	}
	return c.WaitDelay
}

// late is the error of what WaitDelay has ended.
func (c *Cmd) late() error {
	if err := c.ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrWaitDelay, err)
	}
	return ErrWaitDelay
}

// awaitExit waits for the agent's exit record. A record that came before the connection
// ended counts.
func (c *Cmd) awaitExit(p *patience) (*wire.Exited, error) {
	for {
		call := c.call.Load()
		select {
		case m := <-call.events:
			return c.exitedOf(call, m)
		case <-p.ending:
			p.begin()
			continue
		case <-p.idle:
			p.dropPipes()
			continue
		case <-p.over:
			return nil, c.late()
		case <-call.link.done:
		}
		select {
		case m := <-call.events:
			return c.exitedOf(call, m)
		default:
		}
		if err := c.awaitAgain(p, call); err != nil {
			return nil, err
		}
	}
}

// awaitAgain waits for a call to take the place of one that was lost.
func (c *Cmd) awaitAgain(p *patience, lost *call) error {
	if c.resuming == nil {
		return lost.link.lost()
	}
	for c.call.Load() == lost {
		select {
		case _, ok := <-c.resuming.again:
			switch {
			case ok:
			case c.resuming.err != nil:
				return c.resuming.err
			case c.call.Load() == lost:
				return lost.link.lost()
			}
		case <-p.ending:
			p.begin()
		case <-p.over:
			return c.late()
		}
	}
	return nil
}

// exitedOf returns the end that m, the last event of a call, tells of.
func (c *Cmd) exitedOf(call *call, m wire.Message) (*wire.Exited, error) {
	switch m := m.(type) {
	case *wire.Exited:
		return m, checkExited(m, call.link.hello)
	case *wire.Error:
		return nil, call.link.execError(m)
	case *wire.Done:
		if !c.leaves() {
			return nil, fmt.Errorf("%w: done without exited", ErrProtocol)
		}
		if err := c.ctx.Err(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDetached, err)
		}
		return nil, ErrDetached
	default:
		return nil, fmt.Errorf("%w: unexpected %T, want exited", ErrProtocol, m)
	}
}

// awaitCopies waits for the copying of outputs to end. The input's is not waited for.
func (c *Cmd) awaitCopies(p *patience) error {
	for _, o := range c.outputs {
		for ended := false; !ended; {
			select {
			case <-o.done:
				ended = true
			case <-p.ending:
				p.begin()
			case <-p.over:
				c.abandonCopies()
				return c.late()
			}
		}
	}
	return nil
}

func (c *Cmd) abandonCopies() {
	ctx, cancel := context.WithTimeout(context.Background(), lastWrite)
	defer cancel()
	for _, o := range c.outputs {
		o.abandon(ctx)
	}
}

// afterLimit joins err with the OutputLimitError for which the command was ended,
// if it was.
func (c *Cmd) afterLimit(err error) error {
	if limit, ok := errors.AsType[*OutputLimitError](c.copyError()); ok {
		return fmt.Errorf("%w; %w", limit, err)
	}
	return err
}

// copyError returns the error of the caller's Writer or Reader that failed.
func (c *Cmd) copyError() error {
	for _, o := range c.outputs {
		if err := o.writeErr.Load(); err != nil {
			return *err
		}
	}
	if c.input != nil {
		if err := c.input.readErr.Load(); err != nil {
			return *err
		}
	}
	return nil
}

// verdict holds what has arrived against what the agent says.
func (c *Cmd) verdict(x *wire.Exited) error {
	for _, o := range c.outputs {
		if err := c.account(x, o.name, o.n.Load()); err != nil {
			return err
		}
	}
	for _, p := range c.pipes {
		if p.ended.Load() { // its reader takes it for all there is
			if err := c.account(x, p.name, p.n.Load()); err != nil {
				return err
			}
		}
	}
	switch s := c.ProcessState; {
	case x.Reason == wire.ReasonKilled:
		return &ExitError{ProcessState: s, cause: c.ctx.Err()}
	case !s.Success():
		return &ExitError{ProcessState: s}
	}
	for _, p := range c.pipes {
		if !p.closed.Load() { // nobody has said that the rest is not wanted
			if err := c.account(x, p.name, p.n.Load()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Cmd) account(x *wire.Exited, name string, got uint64) error {
	sent := x.StdoutBytes
	if name == stderrName {
		sent = x.StderrBytes
	}
	if c.attach != nil {
		sent -= min(sent, c.begin(name))
		if name == stdoutName {
			got -= min(got, c.redrawn)
		}
	}
	switch {
	case got < sent:
		return &TruncatedError{Stream: name, Got: got, Sent: sent, State: c.ProcessState}
	case got > sent:
		return fmt.Errorf("%w: %d bytes of %s, but the agent sent %d", ErrProtocol, got, name, sent)
	}
	return nil
}

// finish lets go of everything. Requests about the command end.
func (c *Cmd) finish() {
	c.stopWatch()
	close(c.waitOver)
	for _, p := range c.pipes {
		p.finished.Store(true)
	}
	if c.stdinPipe != nil {
		c.stdinPipe.finished.Store(true)
	}
	call := c.call.Load()
	call.letGo()
	if c.owns() && c.ProcessState != nil {
		c.releaseSoon(call.link)
	}
	call.link.release()
}
