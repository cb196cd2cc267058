package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/transport"
	"github.com/cocoonstack/cocoon-agent/internal/v1"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A Client is one connection to an agent, over which any number of commands may
// run at the same time. It is safe for concurrent use.
//
// To an agent that speaks protocol version 1 each command has a connection of its
// own, which the Client makes: see [Client.Protocol].
type Client struct {
	mux     *mux.Session
	control *mux.Stream
	greeted chan struct{} // closed when hello has come
	hello   Hello         // what it says; set before greeted is closed, for version 1 from the start
	done    chan struct{} // closed when no message will come any more
	sending chan struct{} // has a token for each request that is being sent

	// another returns a Client to use instead, once this connection has ended
	// or the agent takes no more on it, which it has marked as in use, or nil:
	// there is none. nil: the caller has but this one.
	another func(context.Context) (*Client, error)

	// older returns a Client that speaks version 1 to the same agent, and takes
	// this one's place where that knows no other. nil: there is none.
	older func() (*Client, error)
	over  chan struct{} // closed after done, and when the one in its place has ended

	old *oldAgent // the agent speaks version 1; nil: version 2

	mu    sync.Mutex
	last  uint64 // the latest request's id
	calls map[uint64]*call

	// unanswered are the streams of requests that were given up, until the agent's
	// last word about them.
	unanswered map[uint64][]*mux.Stream

	err     error     // why the connection ends; set before done is closed
	next    *Client   // has taken this one's place; set with err
	retired bool      // closed when nobody uses it any more
	users   int       // commands from Start to the end of Wait, and other requests
	used    time.Time // when there last was one
	ended   time.Time // set before done is closed

	born     time.Time
	answered atomic.Bool  // a request, by what proves says
	replied  atomic.Int64 // when an event of a request last came, in time since born
}

// A call is a request that has not had its last event.
type call struct {
	events  chan wire.Message // room for all that may come: started, and one more
	started bool
}

// Close ends the connection, and waits until its goroutines have. Commands that
// still run are ended by the agent. Every call that is under way fails with an
// error that wraps [ErrLost]. Close is idempotent.
func (c *Client) Close() error {
	err := c.mux.Close()
	<-c.done
	if next := c.live(); next != c {
		err = errors.Join(err, next.Close())
	}
	<-c.over
	return err
}

// Done is closed when the connection has ended, by Close or by itself.
func (c *Client) Done() <-chan struct{} { return c.over }

// Err returns nil until Done is closed, and then why the connection ended. The
// error wraps [ErrLost].
func (c *Client) Err() error {
	select {
	case <-c.over:
		return c.live().lost()
	default:
		return nil
	}
}

// Ping asks the agent for an answer and waits for it.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.request(ctx, func(h wire.Head) wire.Message { return &wire.Ping{Head: h} })
	return err
}

// Ready waits for the agent's greeting, with which an agent that serves this
// host has shown that it is there. Nothing needs it: requests may go out before.
// Of an agent that speaks version 1 its refusal of version 2 will do, and where
// the caller has asked for version 1, Ready is a Ping.
func (c *Client) Ready(ctx context.Context) error {
	select {
	case <-c.greeted:
		return c.pingChosen(ctx)
	default:
	}
	select {
	case <-c.greeted:
		return c.pingChosen(ctx)
	case <-c.done:
		if next := c.live(); next != c {
			return next.Ready(ctx)
		}
		return c.lost()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pingChosen pings an agent whose version the caller has chosen: nothing else
// shows that it is there.
func (c *Client) pingChosen(ctx context.Context) error {
	if c.old != nil && c.old.chosen {
		return c.Ping(ctx)
	}
	return nil
}

// use marks the connection as in use, until release. It fails where the
// connection is about to end.
func (c *Client) use() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.lostLocked()
	}
	c.users++
	return nil
}

// somewhere does what begins something over the connection, or, where that has
// certainly not begun, over another one. do is called with a Client that has been
// marked as in use; where it fails, it is no longer.
func (c *Client) somewhere(ctx context.Context, do func(*Client) error) error {
	client := c.live()
	err := client.use()
	if err == nil {
		err = do(client)
	}
	if err == nil || client.another == nil || !neverStarted(err) {
		return err
	}
	next, e := client.another(ctx)
	switch {
	case e != nil:
		return fmt.Errorf("%w; %w", err, e)
	case next == nil:
		return err
	default:
		return do(next)
	}
}

// endUnused makes reason the connection's end, unless it is in use. fresh says
// that it had no end before.
func (c *Client) endUnused(reason error) (unused, fresh bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.users > 0 {
		return false, false
	}
	if c.err != nil {
		return true, false
	}
	c.err = reason
	return true, true
}

func (c *Client) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users--
	c.used = time.Now()
	c.closeUnused()
}

// usage says whether the connection is in use, and when it last was.
func (c *Client) usage() (inUse bool, last time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.users > 0, c.used
}

// hasEnded says whether the connection has ended, or is about to.
func (c *Client) hasEnded() bool {
	select {
	case <-c.done:
		return true
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// receive reads the control stream to its end.
func (c *Client) receive() {
	defer close(c.over)
	err := c.messages(bufio.NewReader(c.control))
	var next *Client
	if c.older != nil && speaksVersion1(err) {
		next, _ = c.older() // nil where it fails: the refusal is the error
	}
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.next = next
	c.ended = time.Now()
	c.mu.Unlock()
	_ = c.mux.Close()
	if c.old != nil {
		c.old.wait()
	}
	close(c.done)
	if next != nil {
		<-next.done // which Close sees to
	}
}

// fail is Close for a reason.
func (c *Client) fail(reason error) {
	c.setEnd(reason)
	_ = c.Close()
}

// setEnd makes reason the connection's end, unless it has one.
func (c *Client) setEnd(reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = reason
	}
}

// silence is for how long nothing has come.
func (c *Client) silence() time.Duration { return time.Since(c.mux.Heard()) }

// unreplied is for how long no event of a request has come. A guest can end a silence
// by any byte, but this only by what it was asked for.
func (c *Client) unreplied() time.Duration {
	return time.Since(c.born) - time.Duration(c.replied.Load())
}

func (c *Client) messages(in *bufio.Reader) error {
	m, err := wire.Read(in)
	if err != nil {
		return beforeHello(err)
	}
	hello, ok := m.(*wire.Hello)
	if !ok {
		return fmt.Errorf("%w: the agent's first message is not hello", ErrProtocol)
	}
	if c.old == nil { // else it stands for an agent that says nothing
		if c.hello, err = readHello(hello); err != nil {
			return err
		}
	}
	close(c.greeted)
	for {
		m, err := wire.Read(in)
		if err != nil {
			return err
		}
		if err := c.deliver(m); err != nil {
			return err
		}
	}
}

// errNoGreeting is what it means that an agent hangs up at once.
var errNoGreeting = errors.New("the agent closed the connection before its hello: " +
	"it does not serve this peer, or is no cocoon-agent")

func beforeHello(err error) error {
	if refused, ok := errors.AsType[*refusedError](err); ok {
		return fmt.Errorf("%w: %w", ErrLost, refused) // and not what it has kept from being done
	}
	if (errors.Is(err, io.EOF) || transport.HungUp(err)) && !errors.Is(err, mux.ErrClosed) {
		return fmt.Errorf("%w: %w", ErrLost, errNoGreeting)
	}
	return err
}

// deliver hands a message to whoever waits for it. It never blocks.
func (c *Client) deliver(m wire.Message) error {
	switch m := m.(type) {
	case *wire.Started:
		return c.pass(m.ID, m, false)
	case *wire.Exited:
		return c.pass(m.ID, m, true)
	case *wire.Done:
		return c.pass(m.ID, m, true)
	case *wire.Error:
		if m.ID == 0 {
			return remoteError(m.Kind, m.Message)
		}
		return c.pass(m.ID, m, true)
	case *wire.Unknown:
		return nil // a later agent's
	default:
		return fmt.Errorf("%w: unexpected %T", ErrProtocol, m)
	}
}

// pass hands an event of request id to its caller, if it has not given up.
func (c *Client) pass(id uint64, m wire.Message, last bool) error {
	var left []*mux.Stream
	defer func() { resetAll(left) }() // without mu
	c.mu.Lock()
	defer c.mu.Unlock()
	call, ok := c.calls[id]
	if ok {
		c.replied.Store(int64(time.Since(c.born)))
	}
	if ok && proves(m) {
		c.answered.Store(true)
	}
	switch {
	case !ok && last:
		left = c.unanswered[id]
		delete(c.unanswered, id)
		return nil
	case !ok:
		return nil
	case last:
		delete(c.calls, id)
	case call.started:
		return fmt.Errorf("%w: request %d started twice", ErrProtocol, id)
	}
	call.started = true
	call.events <- m
	return nil
}

// proves says whether an answer shows that the connection is of use: an agent that
// takes no requests answers them, too.
func proves(m wire.Message) bool {
	e, ok := m.(*wire.Error)
	if !ok {
		return true
	}
	switch e.Kind {
	case wire.ShuttingDown, wire.Limit, v1.Undialed, v1.Superseded, v1.Lost:
		return false
	default:
		return true
	}
}

// age is for how long the connection has lived, or did.
func (c *Client) age() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := c.ended
	if end.IsZero() {
		end = time.Now()
	}
	return end.Sub(c.born)
}

// begin registers a request.
func (c *Client) begin() (id uint64, events <-chan wire.Message) {
	call := &call{events: make(chan wire.Message, 2)}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	c.calls[c.last] = call
	return c.last, call.events
}

// giveUp lets the events of a request go unheard.
func (c *Client) giveUp(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, id)
}

// event waits for the next event of a request. What has come before the connection
// or ctx ended is delivered after it, too.
func (c *Client) event(ctx context.Context, events <-chan wire.Message) (wire.Message, error) {
	select {
	case m := <-events:
		return m, nil
	default:
	}
	select {
	case m := <-events:
		return m, nil
	case <-ctx.Done():
	case <-c.done:
	}
	select {
	case m := <-events:
		return m, nil
	default:
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return nil, c.lost()
}

// request sends a request other than exec and waits for done.
func (c *Client) request(ctx context.Context, message func(wire.Head) wire.Message) (*wire.Done, error) {
	client := c.live()
	done, err := client.requestHere(ctx, message)
	if next := c.live(); next != client && speaksVersion1(err) { // which has read no request
		return next.requestHere(ctx, message)
	}
	return done, err
}

func (c *Client) requestHere(ctx context.Context, message func(wire.Head) wire.Message) (*wire.Done, error) {
	if err := c.use(); err != nil {
		return nil, err
	}
	defer c.release()
	return c.ask(ctx, message)
}

// ask is a request that does not count as use.
func (c *Client) ask(ctx context.Context, message func(wire.Head) wire.Message) (*wire.Done, error) {
	id, events := c.begin()
	defer c.giveUp(id)
	frame, err := wire.Append(nil, message(wire.Head{ID: id}))
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if err := c.beginSending(ctx); err != nil {
		return nil, err
	}
	// The connection may take no bytes for as long as a VM is paused. Ends with
	// the write, or the connection.
	go func() { _, _ = c.control.Write(frame); c.endSending() }()
	m, err := c.event(ctx, events)
	if err != nil {
		return nil, err
	}
	switch m := m.(type) {
	case *wire.Done:
		return m, nil
	case *wire.Error:
		if err := c.ofOld(m); err != nil {
			return nil, err
		}
		return nil, requestError(m)
	default:
		return nil, fmt.Errorf("%w: unexpected %T for this request", ErrProtocol, m)
	}
}

// maxSending is how many requests may be being sent at a time. Others wait to
// begin: while a VM is paused, callers give up, and what they had begun stays.
const maxSending = 16

// beginSending waits for its turn. Nothing has been sent where it fails.
func (c *Client) beginSending(ctx context.Context) error {
	select {
	case c.sending <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		return c.lost()
	}
}

func (c *Client) endSending() { <-c.sending }

// lost is the error of whatever the connection's end has kept from happening.
func (c *Client) lost() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lostLocked()
}

// lostLocked is lost, called with mu held.
func (c *Client) lostLocked() error {
	if errors.Is(c.err, ErrLost) {
		return c.err
	}
	return fmt.Errorf("%w: %w", ErrLost, c.err)
}
