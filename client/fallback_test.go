//go:build linux

package client_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
)

func TestConcurrentStartsFallBackTogether(t *testing.T) {
	const commands = 32
	g := startGuest(t, 1)
	c := connect(t, g.target)
	var all sync.WaitGroup
	for range commands {
		all.Go(func() {
			if err := c.CommandContext(patiently(t), "true").Run(); err != nil {
				t.Errorf("Run = %v", err)
			}
		})
	}
	all.Wait()
	if first, ran := g.counts(); first != 1 || ran != commands {
		t.Errorf("%d connections of version 2 and %d of version 1, want 1 and %d", first, ran, commands)
	}
	if p := c.Protocol(); p != client.Protocol1 {
		t.Errorf("Protocol = %d, want 1", p)
	}
	if err := c.Err(); err != nil {
		t.Errorf("Err = %v before the end, want nil", err)
	}
}

// Close may come before the agent's refusal, with it, or after version 1 has taken over.
func TestCloseDuringFallBackEndsTheClient(t *testing.T) {
	g := startGuest(t, 1)
	for range 50 {
		c := connect(t, g.target)
		ready := make(chan error, 1)
		go func() { ready <- c.Ready(t.Context()) }() // ends by Close
		if err := c.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
		if err := <-ready; err != nil && !errors.Is(err, client.ErrLost) {
			t.Errorf("Ready = %v, want nil or ErrLost", err)
		}
		<-c.Done()
		if err := c.Err(); !errors.Is(err, client.ErrLost) {
			t.Errorf("Err after Close = %v, want ErrLost", err)
		}
		if err := c.Ping(patiently(t)); !errors.Is(err, client.ErrLost) {
			t.Errorf("Ping after Close = %v, want ErrLost", err)
		}
	}
}
