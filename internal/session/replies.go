package session

import (
	"sync"

	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// maxReplies is how many answers may wait for a host that does not read its control
// stream, besides what the stream's window holds. A host that reads cannot have as many
// pending, even if it asks for the end of all its execs at once. A host that lets more
// wait is cut off.
const maxReplies = 16384

// An replyQueue holds the answers to requests until they are written, so that a
// host that does not read them does not keep the next kill from being read.
// It is safe for concurrent use.
type replyQueue struct {
	filled chan struct{} // has a token when something may wait

	mu      sync.Mutex
	waiting []wire.Message
}

func newReplyQueue() *replyQueue { return &replyQueue{filled: make(chan struct{}, 1)} }

// put never blocks.
func (q *replyQueue) put(m wire.Message) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= maxReplies {
		return errNotRead
	}
	q.waiting = append(q.waiting, m)
	select {
	case q.filled <- struct{}{}:
	default:
	}
	return nil
}

// run sends what is put, in order. After stop it sends what is there, and returns. Answers
// that come later are dropped: the connection has ended.
func (q *replyQueue) run(send func(wire.Message), stop <-chan struct{}) {
	for {
		select {
		case <-q.filled:
			q.flush(send)
		case <-stop:
			q.flush(send)
			return
		}
	}
}

func (q *replyQueue) flush(send func(wire.Message)) {
	for {
		q.mu.Lock()
		batch := q.waiting
		q.waiting = nil
		q.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for _, m := range batch {
			send(m)
		}
	}
}
