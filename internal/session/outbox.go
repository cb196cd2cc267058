package session

import (
	"sync"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// maxReplies is how many answers may wait for a host that does not read its
// control stream, besides what the stream's window holds: more than a host that
// reads can have pending, which may ask for the end of all its execs at once. A
// host that lets more wait is cut off.
const maxReplies = 16384

// An outbox holds the answers to requests until they are written, so that a
// host that does not read them does not keep the next kill from being read.
// It is safe for concurrent use.
type outbox struct {
	filled chan struct{} // has a token when something may wait

	mu      sync.Mutex
	waiting []wire.Message
}

func newOutbox() *outbox { return &outbox{filled: make(chan struct{}, 1)} }

// put never blocks.
func (o *outbox) put(m wire.Message) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) >= maxReplies {
		return errNotRead
	}
	o.waiting = append(o.waiting, m)
	select {
	case o.filled <- struct{}{}:
	default:
	}
	return nil
}

// run sends what is put, in order. It is stopped by stop, when it has sent what
// is there; later answers, about execs that end with the connection, are for
// nobody.
func (o *outbox) run(send func(wire.Message), stop <-chan struct{}) {
	for {
		select {
		case <-o.filled:
			o.empty(send)
		case <-stop:
			o.empty(send)
			return
		}
	}
}

func (o *outbox) empty(send func(wire.Message)) {
	for {
		o.mu.Lock()
		batch := o.waiting
		o.waiting = nil
		o.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for _, m := range batch {
			send(m)
		}
	}
}
