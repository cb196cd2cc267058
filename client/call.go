package client

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A call is a request over a link.
type call struct {
	link   *link
	id     uint64
	events chan wire.Message // room for all that may come: started, and one more

	// Set while the request is made.
	streams []*mux.Stream // that it names
	begins  bool          // it begins something in the guest, which undo ends
	leaves  bool          // undo leaves it, instead of killing it
	force   bool          // undo kills at once

	// settled is set by the first of two: the request was written, or withdrawn. The
	// second one sends the kill, if it was withdrawn: after the request.
	settled atomic.Bool

	started bool // an event has come; guarded by the link's mu
}

// call sends a request and returns the first answer to it. It waits for its turn to
// send. Then it calls request, which opens the streams of the call and returns the
// encoded message. A connection may take no bytes for as long as a VM is paused: ctx
// ends every wait.
//
// If call fails and returns no call, nothing was sent. If it fails and returns one,
// the agent may have read the request. The call is then given up, and if ctx has ended,
// what it began is killed.
func (l *link) call(ctx context.Context, request func(*call) ([]byte, error)) (*call, wire.Message, error) {
	c := l.begin()
	if err := c.send(ctx, request); err != nil {
		c.drop()
		return nil, nil, err
	}
	m, err := c.event(ctx)
	if err != nil {
		c.letGo()
		if c.begins && ctx.Err() != nil {
			c.withdraw()
		}
	}
	return c, m, err
}

// begin registers a request.
func (l *link) begin() *call {
	c := &call{link: l, events: make(chan wire.Message, 2)}
	l.mu.Lock()
	defer l.mu.Unlock()
	c.id = l.nextIDLocked()
	l.calls[c.id] = c
	return c
}

func (l *link) nextIDLocked() uint64 {
	l.last++
	return l.last
}

// send makes the request when its turn has come, and begins to write it. If it fails,
// nothing was sent.
func (c *call) send(ctx context.Context, request func(*call) ([]byte, error)) error {
	l := c.link
	select {
	case l.sending <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-l.done:
		return l.lost()
	}
	frame, err := request(c)
	if err != nil {
		<-l.sending
		return l.whyNot(ctx, err)
	}
	go c.write(frame) // ends with the write, or the connection
	return nil
}

// whyNot returns why a request could not be made. If the connection has ended, its
// reader learns why.
func (l *link) whyNot(ctx context.Context, err error) error {
	if !errors.Is(err, ErrLost) {
		return err
	}
	select {
	case <-l.done:
		return l.lost()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write writes the request. If that fails, the connection ends, and event learns why.
func (c *call) write(frame []byte) {
	_, _ = c.link.control.Write(frame)
	<-c.link.sending
	if c.settled.Swap(true) {
		c.undo()
	}
}

// undo asks the agent to end what the request has begun.
func (c *call) undo() {
	if c.leaves {
		c.link.leave(c.id)
	} else {
		c.link.kill(c.id, c.force)
	}
}

// withdraw asks the agent to end what the request has begun, once it has been sent,
// and does not wait.
func (c *call) withdraw() {
	if c.settled.Swap(true) {
		go c.undo() // ends with the write, or the connection
	}
}

// isUnanswered reports whether the agent's last word about the request has not come.
func (c *call) isUnanswered() bool {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	_, waits := c.link.calls[c.id]
	return waits
}

// kill asks the agent to end what the request of that id has begun.
func (l *link) kill(exec uint64, force bool) {
	l.tell(func(h wire.Head) wire.Message { return &wire.Kill{Head: h, Exec: exec, Force: force} })
}

// leave asks the agent to carry no more output to the request of that id.
func (l *link) leave(exec uint64) {
	l.tell(func(h wire.Head) wire.Message { return &wire.Leave{Head: h, Exec: exec} })
}

// tell sends a request and does not wait for the answer.
func (l *link) tell(message func(wire.Head) wire.Message) {
	l.mu.Lock()
	id := l.nextIDLocked()
	l.mu.Unlock()
	_ = wire.Write(l.control, message(wire.Head{ID: id}))
}

// request is ask that counts as use of the link.
func (l *link) request(ctx context.Context, message func(wire.Head) wire.Message) (*wire.Done, error) {
	if err := l.use(); err != nil {
		return nil, err
	}
	defer l.release()
	return l.ask(ctx, message)
}

// ask sends a request that begins nothing, and returns its answer.
func (l *link) ask(ctx context.Context, message func(wire.Head) wire.Message) (*wire.Done, error) {
	c, m, err := l.call(ctx, func(c *call) ([]byte, error) {
		frame, err := wire.Append(nil, message(wire.Head{ID: c.id}))
		if err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
		return frame, nil
	})
	if err != nil {
		return nil, err
	}
	switch m := m.(type) {
	case *wire.Done:
		return m, nil
	case *wire.Error:
		if err := l.oldError(m); err != nil {
			return nil, err
		}
		return nil, requestError(m)
	default:
		c.letGo()
		return nil, fmt.Errorf("%w: unexpected %T for this request", ErrProtocol, m)
	}
}
