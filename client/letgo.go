package client

import (
	"fmt"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
)

// maxUnanswered is how many commands and guest connections that were given up may still be
// unanswered. It is more than an agent runs for one connection by default.
const maxUnanswered = 8192

// drop gives up a call that was not sent: the agent knows nothing of its streams.
func (c *call) drop() {
	c.link.mu.Lock()
	delete(c.link.calls, c.id)
	c.link.mu.Unlock()
	resetAll(c.streams)
}

// letGo gives up a call that was sent, and its streams. If the agent has said
// its last word about the request, it has ended its streams before: a stream that has
// not ended is reset, so that a guest cannot have them gather here. Otherwise the
// agent may still use the streams until its last answer. deliver then resets those that have
// not ended.
func (c *call) letGo() {
	l := c.link
	for _, s := range c.streams {
		s.Discard()
	}
	l.mu.Lock()
	_, unanswered := l.calls[c.id]
	delete(l.calls, c.id)
	if unanswered && len(c.streams) > 0 {
		l.unanswered[c.id] = c.streams
	}
	n := len(l.unanswered)
	l.mu.Unlock()
	if !unanswered {
		resetAll(c.streams)
	}
	if n > maxUnanswered {
		go l.end(fmt.Errorf("%w: the agent left %d requests unanswered", ErrProtocol, n)) // ends with the connection
	}
}

// resetAll discards streams, and resets those that the peer has not ended.
func resetAll(streams []*mux.Stream) {
	for _, s := range streams {
		s.Discard()
		s.Reset()
	}
}
