package client

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A Client is one connection to an agent, over which any number of commands may run at
// the same time. It is safe for concurrent use.
//
// Dial, NewClient, a Pool and their like make one. The calls of a zero Client fail.
//
// An agent that speaks protocol version 1 has a connection for each command, which the
// Client makes: see [Client.Protocol].
//
// Ping, Info, Execs, KillExec, ReseedWith and Reseed wait for the agent's answer until ctx
// ends, or the connection does. Their error is then ctx's, or one that wraps [ErrLost].
// A [*RemoteError] is the agent's refusal.
type Client struct {
	done chan struct{} // closed when the link has ended, and no other takes its place

	// another returns a link to use instead of one that has ended, or over which the
	// agent takes no more. It is marked as in use; nil: there is none. A Pool sets
	// another; nil: there never is one.
	another func(context.Context, *link) (*link, error)

	commands *commandCounts // a Pool's; nil: nobody counts

	// older returns an agent that speaks version 1, in case the one at the other end
	// speaks no other version. nil: there is none. Only fallBack changes it.
	older func() *oldAgent

	receiving sync.WaitGroup // the goroutines of its links

	mu   sync.Mutex
	link *link // the current one: fallBack replaces it
}

// current returns the link that what begins now is to use.
func (c *Client) current() *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.link
}

// Close ends the connection, and waits until its goroutines have ended. The agent ends
// the commands that still run. Every call that is under way fails with an error that
// wraps [ErrLost]. Close is idempotent, and returns nil.
func (c *Client) Close() error {
	l := c.current()
	if l == nil {
		return nil
	}
	l.end(nil)
	if next := c.current(); next != l {
		next.end(nil)
	}
	c.receiving.Wait()
	return nil
}

// Done returns a channel that is closed when the connection has ended, by Close or by
// itself.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns nil until Done is closed, and then the reason why the connection ended,
// an error that wraps [ErrLost].
func (c *Client) Err() error {
	select {
	case <-c.done:
		return c.current().lost()
	default:
		return nil
	}
}

// Ping asks the agent for an answer and waits for it.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.request(ctx, ping)
	return err
}

func ping(h wire.Head) wire.Message { return &wire.Ping{Head: h} }

// request sends a request that begins nothing, and returns its answer.
func (c *Client) request(ctx context.Context, message func(wire.Head) wire.Message) (done *wire.Done, err error) {
	err = c.withFallback(func(l *link) error {
		done, err = l.request(ctx, message)
		return err
	})
	return done, err
}

var errZeroClient = errors.New("client: Client was not made by Dial, NewClient or a Pool")

// withFallback calls do with the current link, and once more with the link of version 1
// that has taken its place, if there is one: the agent has then read nothing.
func (c *Client) withFallback(do func(*link) error) error {
	l := c.current()
	if l == nil {
		return errZeroClient
	}
	err := do(l)
	if !speaksVersion1(err) {
		return err
	}
	if next := c.current(); next != l {
		return do(next)
	}
	return err
}

// withRetry calls do with the current link, and once more with another link if what do
// begins has provably not begun over the first. A link that is passed to do is marked
// as in use. If do fails, it has released the link.
func (c *Client) withRetry(ctx context.Context, do func(*link) error) error {
	l := c.current()
	if l == nil {
		return errZeroClient
	}
	err := l.use()
	if err == nil {
		err = do(l)
	}
	if err == nil || !neverStarted(err) {
		return err
	}
	next, e := c.insteadOf(ctx, l)
	switch {
	case e != nil:
		return fmt.Errorf("%w; %w", err, e)
	case next == nil:
		return err
	default:
		return do(next)
	}
}

// insteadOf returns a link to use instead of l, marked as in use, or nil: there is none.
func (c *Client) insteadOf(ctx context.Context, l *link) (*link, error) {
	if next := c.current(); next != l && !next.hasEnded() {
		err := next.use()
		return next, err
	}
	if c.another == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	return c.another(ctx, l)
}
