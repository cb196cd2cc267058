//go:build linux

package client_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/job"
)

// nothing is a Putter whose output nobody reads.
type nothing struct{}

func (nothing) Put(parts ...[]byte) (b job.Bytes) {
	for _, p := range parts {
		b.Len += int64(len(p))
	}
	return b
}

// An agent is held for an upgrade, many times, and goes on each time, because the next program cannot
// be executed. Hosts do not notice.
func TestAgentGoesOnAfterEachHold(t *testing.T) {
	a := agenttest.Start(t)
	pool := newPool(t, soon())
	resumed := get(t, pool, a.Target).CommandContext(patiently(t), "sh", "-c", "seq 200000; sleep 1; exit 7")
	resumed.Outlive = client.Outlive{Resume: true, Ring: 4096}
	var out bytes.Buffer
	resumed.Stdout = &out
	if err := resumed.Start(); err != nil {
		t.Fatal(err)
	}
	done, ran := make(chan struct{}), make(chan struct{}, 1)
	var busy sync.WaitGroup
	busy.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			c, err := pool.Get(patiently(t), a.Target)
			if err == nil {
				err = c.CommandContext(patiently(t), "true").Run()
			}
			if err != nil {
				t.Errorf("beside a hold: %v", err)
			}
			select {
			case ran <- struct{}{}:
			default:
			}
		}
	})
	for range 30 {
		agenttest.Within(t, "a command between two holds", func() { <-ran; <-ran; <-ran })
		saved, err := a.Server().Hold(false, nothing{})
		if err == nil && saved.Check() != nil {
			t.Errorf("Hold returns what fails its own check: %v", saved.Check())
		}
		if err != nil {
			t.Errorf("Hold: %v", err)
		}
		a.Server().Release()
	}
	close(done)
	busy.Wait()
	exit, ok := errors.AsType[*client.ExitError](resumed.Wait())
	if !ok || exit.ExitCode() != 7 || out.String() != numbered(200_000) {
		t.Errorf("the resumed command: %v, %d bytes of output, want exit status 7 and %d bytes", exit, out.Len(), len(numbered(200_000)))
	}
}
