//go:build linux

package proc_test

import (
	"bytes"
	"io"
	"math"
	"os/exec"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// BenchmarkSpawn is one process from start to its exit, both outputs read to
// their ends. The baseline is os/exec, which does as much.
func BenchmarkSpawn(b *testing.B) {
	b.Run("by=os-exec", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			cmd := exec.Command("/bin/true")
			cmd.Stdout, cmd.Stderr = new(bytes.Buffer), new(bytes.Buffer)
			if err := cmd.Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("by=proc/tree=family", func(b *testing.B) { spawn(b, newSpawner(b)) })
	b.Run("by=proc/tree=cgroup", func(b *testing.B) { spawn(b, newCgroupSpawner(b)) })
}

func spawn(b *testing.B, s *proc.Spawner) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		spawnOnce(b, s)
	}
}

func spawnOnce(tb testing.TB, s *proc.Spawner) {
	tb.Helper()
	p, err := s.Start(proc.Spec{Argv: []string{"/bin/true"}, Stdout: true, Stderr: true})
	if err != nil {
		tb.Fatal(err)
	}
	copied := make(chan struct{}, 2)
	for _, o := range []*proc.Output{p.Stdout(), p.Stderr()} {
		go func() { // ends with the process
			_, _, _ = o.CopyTo(io.Discard)
			copied <- struct{}{}
		}()
	}
	err = p.Wait()
	<-copied
	<-copied
	if _, e := p.Reap(); err != nil || e != nil {
		tb.Fatal(err, e)
	}
}

// The bound is the measured number, which includes the test's goroutines, and a tenth
// more, or two.
func TestAllocationsOfSpawn(t *testing.T) {
	const most = 50
	s := newSpawner(t)
	least := math.Inf(1)
	for range 10 { // a start of more than 10 ms, on a busy machine, allocates more
		least = min(least, testing.AllocsPerRun(5, func() { spawnOnce(t, s) }))
	}
	if least > most {
		t.Errorf("%.0f allocations, want at most %d", least, most)
	}
}
