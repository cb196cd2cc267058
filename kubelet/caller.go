package kubelet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/virtual-kubelet/virtual-kubelet/node/api"
)

// A caller is who has asked for an exec or an attach: kubectl, as a rule, behind
// an API server and virtual-kubelet.
type caller struct {
	ctx context.Context // ends when the caller has gone, or the call has ended
	end context.CancelCauseFunc

	tty    bool
	input  *input              // nil: none
	stdout *output             // nil: not wanted
	stderr *output             // nil: not wanted, or a terminal
	resize <-chan api.TermSize // nil: no terminal
}

// newCaller begins to watch for the caller's disappearance. ctx ends then if
// virtual-kubelet knows of it (SPDY, since its 1.13). release ends the watch.
func newCaller(ctx context.Context, attach api.AttachIO, heartbeat time.Duration) *caller {
	c := &caller{tty: attach.TTY()}
	c.ctx, c.end = context.WithCancelCause(ctx)
	if r := attach.Stdin(); r != nil {
		c.input = newInput(c, r)
	}
	if w := attach.Stdout(); w != nil {
		c.stdout = &output{to: w, failed: c.gone}
	}
	if c.tty {
		c.resize = attach.Resize()
	} else if w := attach.Stderr(); w != nil { // with a terminal, websockets have one all the same
		c.stderr = &output{to: w, failed: c.gone}
	}
	if o := c.anyOutput(); o != nil {
		go o.watch(c.ctx, heartbeat) // stopped by release; its Write by the end of the connection, after the call
	}
	return c
}

// anyOutput returns an output that can tell whether the caller is there, or nil.
func (c *caller) anyOutput() *output {
	if c.stdout != nil {
		return c.stdout
	}
	return c.stderr
}

// A goneError says why it is taken that the caller has gone.
type goneError struct{ err error }

func (e *goneError) Error() string { return fmt.Sprintf("the caller has gone: %v", e.err) }
func (e *goneError) Unwrap() error { return e.err }

func (c *caller) gone(err error) { c.end(&goneError{err}) }

// left returns an error if the caller has gone, or is to go.
func (c *caller) left() error {
	switch cause := context.Cause(c.ctx); cause.(type) { //nolint:errorlint // made here, not wrapped
	case nil, *goneError:
		return cause
	default:
		if errors.Is(cause, ErrShutdown) {
			return cause
		}
		return &goneError{cause}
	}
}

// release lets the caller go, and returns what the call is to return: err, unless
// the caller went first. The status, which that becomes, is sent after the call,
// as the last of all: so the input must be quiet by then, and the outputs are closed.
func (c *caller) release(err error) error {
	if left := c.left(); left != nil {
		err = left
	}
	if c.input != nil {
		c.input.settle()
	}
	for _, o := range []*output{c.stdout, c.stderr} {
		if o != nil && c.ctx.Err() == nil {
			_ = o.Close() // virtual-kubelet resets it in any case
		}
	}
	c.end(nil)
	return err
}
