package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A resuming is what a Cmd with Resume has: it attaches again when a link is lost. Wait
// ends it.
type resuming struct {
	again chan struct{} // has a token when there is another call; closed when there is none any more
	over  chan struct{} // closed by Wait when it needs no more output or calls
	err   error         // why there is none; set before again is closed

	mu    sync.Mutex
	acked uint64 // bytes of both outputs that were acknowledged over the present link
}

// ackEach is how many bytes are acknowledged at once, at least: a guest that is short of
// memory may keep only 4 KiB.
const ackEach = 1 << 10

func newResuming() *resuming {
	return &resuming{again: make(chan struct{}, 1), over: make(chan struct{})}
}

// end ends keepAttached, and waits for that.
func (r *resuming) end() {
	close(r.over)
	for range r.again { // until keepAttached closes it
	}
}

// Pauses between attempts to connect again, besides the pool's own.
const (
	firstResumePause = 50 * time.Millisecond
	lastResumePause  = 5 * time.Second
)

// keepAttached attaches again whenever a link is lost. It is stopped by Wait.
func (c *Cmd) keepAttached() {
	r := c.resuming
	defer close(r.again)
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.ctx))
	defer cancel()
	go func() { // ends with Wait, or keepAttached
		select {
		case <-r.over:
			cancel()
		case <-ctx.Done():
		}
	}()
	for {
		lost := c.call.Load()
		select {
		case <-lost.link.done:
		case <-r.over:
			return
		}
		if len(lost.events) > 0 || !c.awaitPauses() {
			return // Wait has the end, or takes it
		}
		next, err := c.reattach(ctx, lost)
		if err != nil {
			r.err = err
			return
		}
		c.resume(lost, next)
	}
}

// awaitPauses waits until each output has passed on what came over the lost link. It
// reports false if Wait needs no more.
func (c *Cmd) awaitPauses() bool {
	for _, o := range c.outputs {
		select {
		case <-o.paused:
		case <-o.done:
		case <-c.resuming.over:
			return false
		}
	}
	return true
}

// resume has the outputs go on with the streams of next. lost is let go.
func (c *Cmd) resume(lost, next *call) {
	c.call.Store(next)
	for _, o := range c.outputs {
		from := c.streams.stdout.Stream
		if o.name == stderrName {
			from = c.streams.stderr.Stream
		}
		if from != nil {
			o.next <- from // the output has paused
		}
	}
	lost.letGo()
	lost.link.release()
	c.acknowledge(0) // again: what was sent over the lost link may not have arrived
	select {
	case <-c.ending: // the lost link did not take the kill
		next.link.kill(next.id, false)
	default:
	}
	select {
	case c.resuming.again <- struct{}{}:
	default:
	}
}

// reattach returns the call of an attach over another link, which is marked as in use. It
// tries until ctx ends, or an error says that it is of no use.
func (c *Cmd) reattach(ctx context.Context, lost *call) (*call, error) {
	l, pause := lost.link, firstResumePause
	for {
		next, err := c.client.insteadOf(ctx, l)
		if next == nil && err == nil {
			return nil, lost.link.lost() // a Client without a Pool
		}
		if err == nil {
			var attached *call
			if attached, err = c.attachOver(ctx, next); err == nil {
				return attached, nil
			}
			next.release()
			l = next
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w; %w", lost.link.lost(), ctx.Err())
		}
		if !mayPass(err) {
			return nil, fmt.Errorf("%w; cannot attach again: %w", lost.link.lost(), err)
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, lastResumePause)
		case <-ctx.Done():
		}
	}
}

// mayPass reports whether an attempt to attach again may succeed later.
func mayPass(err error) bool {
	remote, isRemote := errors.AsType[*RemoteError](err)
	_, behind := errors.AsType[*BehindError](err)
	switch {
	case behind, errors.Is(err, ErrForgotten), errors.Is(err, ErrAnotherAgent), errors.Is(err, ErrPoolClosed):
		return false
	case isRemote:
		return remote.Kind == Limit || remote.Kind == ShuttingDown // for an upgrade
	case errors.Is(err, ErrProtocol):
		return false
	default:
		return true
	}
}

// attachOver attaches over l for the outputs that have not ended.
func (c *Cmd) attachOver(ctx context.Context, l *link) (*call, error) {
	var p Position
	call, answer, err := l.call(ctx, func(call *call) (_ []byte, err error) {
		call.begins, call.leaves = true, true
		p, err = c.openPaused(l.mux)
		call.streams = c.streams.all()
		if err != nil {
			return nil, err
		}
		return wire.Append(nil, c.attachMessage(call.id, c.handle, c.agentID, p, RedrawNone))
	})
	if err != nil {
		return nil, err
	}
	m, err := call.startedExec(answer)
	if err == nil && (m.PID != c.pid || !bytes.Equal(m.Handle, c.handle) ||
		m.StdoutOffset != p.Stdout || m.StderrOffset != p.Stderr || m.Redraw != 0) {
		err = fmt.Errorf("%w: attached to process %d at %d and %d, want process %d at %d and %d",
			ErrProtocol, m.PID, m.StdoutOffset, m.StderrOffset, c.pid, p.Stdout, p.Stderr)
		call.withdraw()
	}
	if err != nil {
		call.letGo()
		return nil, err
	}
	return call, nil
}

// openPaused opens streams for the outputs that have paused, and returns their offsets.
func (c *Cmd) openPaused(m *mux.Session) (p Position, err error) {
	c.streams = streams{}
	for _, o := range c.outputs {
		select {
		case <-o.done:
			continue
		default:
		}
		to, at := &c.streams.stdout, &p.Stdout
		if o.name == stderrName {
			to, at = &c.streams.stderr, &p.Stderr
		}
		*at = o.offset()
		if to.Stream, err = m.Open(); err != nil {
			return p, err
		}
	}
	return p, nil
}

// acknowledge tells the agent what the Writers have, if that is so many bytes more than it
// knows.
func (c *Cmd) acknowledge(least uint64) {
	r := c.resuming
	stdout, stderr := c.Offsets()
	r.mu.Lock()
	due := stdout+stderr-r.acked >= least
	if due {
		r.acked = stdout + stderr
	}
	r.mu.Unlock()
	if due {
		call := c.call.Load()
		_ = wire.Write(call.link.control, &wire.Acked{Head: wire.Head{ID: call.id}, StdoutOffset: stdout, StderrOffset: stderr})
	}
}
