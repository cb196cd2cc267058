//go:build linux

package session_test

import (
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
)

func TestCheckReturnsWhileCommandsRun(t *testing.T) {
	a := agenttest.Start(t)
	for range 3 {
		h := connect(t, a)
		for id := range uint64(3) {
			h.exec(id+1, "sleep", "1000")
		}
	}
	done := make(chan struct{})
	go func() { // ends with Check
		a.Check()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(agenttest.Patience):
		t.Fatal("Check does not return")
	}
}
