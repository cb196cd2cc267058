//go:build linux

package kubelet_test

import (
	"io"
	"sync"
	"sync/atomic"
	"testing"
)

// A command may end while its caller still sends. If the connection is then closed with
// input arriving, TCP resets it, and over SPDY the status is lost in one of 10 cases,
// which kubectl takes for success. It takes many to show.
func TestStatusSurvivesUnreadInput(t *testing.T) {
	for name, c := range map[string]*cluster{"with Handler": newCluster(t), "bare": newBareCluster(t)} {
		t.Run(name, func(t *testing.T) { loseNoStatus(t, c) })
	}
}

func loseNoStatus(t *testing.T, c *cluster) {
	t.Helper()
	const atOnce = 6
	overAll(t, func(t *testing.T, over string) {
		times := 300
		if over != overSPDY { // where it has never been seen
			times = 24
		}
		var all sync.WaitGroup
		var lost atomic.Int32
		for range atOnce {
			all.Go(func() {
				for range times / atOnce {
					x := call{over: over, command: sh("head -c 10 >/dev/null; exit 4"), stdin: io.LimitReader(zeros{}, 5<<20), stdout: io.Discard, stderr: io.Discard}
					if err := x.run(patiently(t), c.URL); status(err) != 4 {
						lost.Add(1)
					}
				}
			})
		}
		all.Wait()
		if n := lost.Load(); n > 0 {
			t.Errorf("%d of %d were lost", n, times)
		}
	})
}
