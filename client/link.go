package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A link is one connection to an agent. It carries requests ([link.call]) and the
// streams that they name. A Client holds one.
//
//	made → started → ending: why is known, and nothing begins over it any more → ended
type link struct {
	mux     *mux.Session
	control *mux.Stream
	client  *Client   // holds the link, and learns of its end; set by start
	old     *oldAgent // the agent speaks version 1; nil: version 2

	greeted chan struct{} // closed when the agent's hello has come
	hello   Hello         // what it says; set before greeted is closed, for version 1 from the start
	done    chan struct{} // closed when no message will come any more, and nothing of the link runs
	sending chan struct{} // has a token for each request that is being sent

	mu    sync.Mutex
	last  uint64 // the latest request's id
	calls map[uint64]*call

	// unanswered are the streams of requests that were given up, until the agent's
	// last word about them.
	unanswered map[uint64][]*mux.Stream

	err     error     // why the connection ends; nil: it does not. Set once, before done is closed
	ended   time.Time // set before done is closed
	retired bool      // it ends as soon as nobody uses it
	users   int       // commands from Start to the end of Wait, and other requests
	used    time.Time // when there last was a user

	born     time.Time
	answered atomic.Bool  // the agent has answered a request, as proves understands it
	replied  atomic.Int64 // when an event of a request last came, in time since born
}

// maxSending is how many requests may be being sent at a time. Others wait to
// begin: while a VM is paused, callers give up, and what they had begun stays.
const maxSending = 16

// newLink makes a link over conn. The caller starts it.
func newLink(conn io.ReadWriteCloser) (*link, error) {
	session, control, err := mux.Client(&answered{ReadWriteCloser: conn}, wire.Preface)
	if err != nil {
		return nil, beforeHello(err)
	}
	l := &link{
		mux:     session,
		control: control,

		greeted: make(chan struct{}),
		done:    make(chan struct{}),
		sending: make(chan struct{}, maxSending),

		calls:      make(map[uint64]*call),
		unanswered: make(map[uint64][]*mux.Stream),

		born: time.Now(),
	}
	if l.old, _ = conn.(*oldAgent); l.old != nil {
		l.hello = Hello{Protocol: Protocol1}
	}
	return l, nil
}

// start greets the agent and begins to receive, for c. If the greeting could not be
// sent, start returns an error, and the link is about to end: its reader learns why.
func (l *link) start(c *Client) error {
	l.client = c
	err := wire.Write(l.control, greeting())
	c.receiving.Go(l.receive) // stopped by end, or by the connection's end; end waits for it
	return err
}

// receive reads the control stream to its end, and then ends the link. The Client
// learns why first: a caller that learns it may ask the Client for another link.
func (l *link) receive() {
	err := l.messages(bufio.NewReader(l.control))
	replaced := l.client.fallBack(err)
	l.mu.Lock()
	l.setEndingLocked(err)
	l.ended = time.Now()
	l.mu.Unlock()
	_ = l.mux.Close()
	if l.old != nil {
		l.old.wait()
	}
	if !replaced {
		close(l.client.done)
	}
	close(l.done)
}

// messages reads the agent's greeting and then its messages. It returns why there are
// no more.
func (l *link) messages(in *bufio.Reader) error {
	if err := l.readGreeting(in); err != nil {
		return err
	}
	close(l.greeted)
	for {
		m, err := wire.Read(in)
		if err != nil {
			return err
		}
		if err := l.deliver(m); err != nil {
			return err
		}
	}
}

func (l *link) readGreeting(in *bufio.Reader) error {
	m, err := wire.Read(in)
	if err != nil {
		return beforeHello(err)
	}
	hello, ok := m.(*wire.Hello)
	if !ok {
		return fmt.Errorf("%w: the agent's first message is not hello", ErrProtocol)
	}
	if l.old == nil { // an oldAgent's hello is not the agent's
		l.hello, err = readHello(hello)
	}
	return err
}

// end ends the link and waits until its goroutines have ended. reason is why, unless
// the link is ending already; nil: its reader learns why. Every link ends this way, or
// because its connection has ended.
func (l *link) end(reason error) {
	if reason != nil {
		l.setEnding(reason)
	}
	_ = l.mux.Close() // never fails
	<-l.done
}

// setEnding sets why the link ends, unless it is ending already. From then on nothing
// begins over it. The caller ends it. It reports whether reason is why the link ends.
func (l *link) setEnding(reason error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.setEndingLocked(reason)
}

// setEndingLocked is setEnding with mu held. It reports whether reason is why the link ends.
func (l *link) setEndingLocked(reason error) bool {
	if l.err != nil {
		return false
	}
	l.err = reason
	return true
}

// hasEnded reports whether the link has ended, or is ending.
func (l *link) hasEnded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err != nil
}

// lost returns the error of what the link's end has kept from happening.
func (l *link) lost() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lostLocked()
}

func (l *link) lostLocked() error {
	if errors.Is(l.err, ErrLost) {
		return l.err
	}
	return fmt.Errorf("%w: %w", ErrLost, l.err)
}

// age returns how long the link has lived, or did.
func (l *link) age() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := l.ended
	if end.IsZero() {
		end = time.Now()
	}
	return end.Sub(l.born)
}

// silence returns for how long no byte has come.
func (l *link) silence() time.Duration { return time.Since(l.mux.Heard()) }

// unreplied returns for how long no event of a request has come. A guest can end a
// silence by any byte, but this only by what it was asked for.
func (l *link) unreplied() time.Duration {
	return time.Since(l.born) - time.Duration(l.replied.Load())
}
