package client

import "time"

// NumStreams is how many streams of c's connection have not ended.
func NumStreams(c *Client) int { return c.mux.NumStreams() }

// BackOff is how long a Pool waits after that many failures and one more.
func BackOff(c PoolConfig, failures int) time.Duration {
	c.setDefaults()
	return c.backOff(failures)
}
