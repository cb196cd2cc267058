package client

import (
	"fmt"

	"github.com/cocoonstack/cocoon-agent/internal/mux"
)

// maxUnanswered is how many execs and forwards that were given up may still be
// unanswered. It is as many execs as an agent runs for one connection by default.
const maxUnanswered = 2048

// letGo gives up a request that has been sent, and its streams. If the agent has said
// its last word about the request, it has ended its streams before: a stream that has
// not ended is reset, so that a guest cannot have them gather here. Otherwise the
// agent is owed both directions until that word, and deliver resets what is left then.
func (c *Client) letGo(id uint64, streams ...*mux.Stream) {
	for _, s := range streams {
		s.Discard()
	}
	c.mu.Lock()
	_, unanswered := c.calls[id]
	delete(c.calls, id)
	if unanswered && len(streams) > 0 {
		c.unanswered[id] = streams
	}
	n := len(c.unanswered)
	c.mu.Unlock()
	if !unanswered {
		resetAll(streams)
	}
	if n > maxUnanswered {
		go c.fail(fmt.Errorf("%w: the agent left %d requests unanswered", ErrProtocol, n)) // ends with the connection
	}
}

// resetAll discards streams, and resets those that the peer has not ended.
func resetAll(streams []*mux.Stream) {
	for _, s := range streams {
		s.Discard()
		s.Reset()
	}
}
