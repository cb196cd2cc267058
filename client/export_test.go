package client

import "time"

// MaxUnanswered is how many requests may be given up and unanswered, MaxRetired how
// many connections to a target may be replaced and used.
const (
	MaxUnanswered = maxUnanswered
	MaxRetired    = maxRetired
)

// NumStreams is how many streams of c's connection have not ended.
func NumStreams(c *Client) int { return c.current().mux.NumStreams() }

// BackOff is how long a Pool waits after that many failures and one more.
func BackOff(c PoolConfig, failures int) time.Duration {
	c.setDefaults()
	return c.backOff(failures)
}

// SetBrokenPipeTime sets how long a command of an old agent has to end once nobody reads its
// output. No command may run.
func SetBrokenPipeTime(d time.Duration) (undo func()) {
	before := brokenPipeTime
	brokenPipeTime = d
	return func() { brokenPipeTime = before }
}
