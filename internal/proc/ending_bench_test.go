//go:build linux

package proc_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// BenchmarkEnd ends trees that run at the same time, as when a connection is
// lost: each has a shell, a child in its group and one in a session of its own.
func BenchmarkEnd(b *testing.B) {
	for _, way := range []struct {
		name string
		make func(testing.TB) *proc.Spawner
	}{{"cgroup", newCgroupSpawner}, {"family", newSpawner}} {
		for _, grace := range []time.Duration{0, long} {
			for _, n := range []int{1, 100} {
				b.Run(fmt.Sprintf("tree=%s/grace=%v/trees=%d", way.name, grace, n), func(b *testing.B) {
					s := way.make(b)
					b.ReportAllocs()
					for range b.N {
						b.StopTimer()
						trees := startTrees(b, s, n)
						b.StartTimer()
						endTrees(b, trees, grace)
					}
				})
			}
		}
	}
}

func startTrees(b *testing.B, s *proc.Spawner, n int) []*child {
	b.Helper()
	trees := make([]*child, n)
	for i := range trees {
		trees[i] = ready(b, s, "setsid sh -c 'echo ready; exec sleep 1000' & sleep 1000 & echo ready; wait", 2)
	}
	return trees
}

func endTrees(b *testing.B, trees []*child, grace time.Duration) {
	b.Helper()
	for _, c := range trees {
		c.Terminate(grace)
	}
	var ended sync.WaitGroup
	for _, c := range trees {
		ended.Go(func() { c.finish(b) })
	}
	ended.Wait()
}
