//go:build linux

package kubelet_test

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// BenchmarkOverhead runs a command by client.Cmd and by RunInContainer, one after
// the other, and compares: the medians of each, and of their ratios. Nothing of
// virtual-kubelet or Kubernetes is between.
func BenchmarkOverhead(b *testing.B) {
	silent, end := io.Pipe()
	defer end.Close()
	for _, x := range []struct {
		name   string
		script string
		stdin  func() io.Reader
	}{
		{"true", "", nil},
		{"stdout=64MB", "dd if=/dev/zero bs=64k count=1024 status=none", nil},
		{"stdin=64MB", "cat >/dev/null", func() io.Reader { return io.LimitReader(zeros{}, 64<<20) }},
		{"stdin=empty", "cat >/dev/null", func() io.Reader { return strings.NewReader("") }},
		{"stdin=held", "", func() io.Reader { return silent }},
	} {
		argv := []string{"true"}
		if x.script != "" {
			argv = sh(x.script)
		}
		if x.stdin == nil {
			x.stdin = func() io.Reader { return nil }
		}
		b.Run(x.name, func(b *testing.B) { compare(b, argv, x.stdin) })
	}
}

func compare(b *testing.B, argv []string, stdin func() io.Reader) {
	b.Helper()
	p := vm(b)
	pool := newPool(b)
	direct := func() error {
		c, err := pool.Get(b.Context(), shared)
		if err != nil {
			return err
		}
		cmd := c.CommandContext(b.Context(), argv[0], argv[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin(), nothing{}, nothing{}
		return cmd.Run()
	}
	adapted := func() error {
		return p.RunInContainer(b.Context(), "default", "vm", "main", argv, &attachIO{stdin: stdin(), stdout: nothing{}, stderr: nothing{}})
	}
	var times [2][]float64
	var ratios []float64
	for b.Loop() {
		var took [2]float64
		for i := range 2 {
			i ^= len(ratios) & 1 // each is first in turn
			began := time.Now()
			if err := []func() error{direct, adapted}[i](); err != nil {
				b.Fatal(err)
			}
			took[i] = float64(time.Since(began).Microseconds())
			times[i] = append(times[i], took[i])
		}
		ratios = append(ratios, took[1]/took[0])
	}
	b.ReportMetric(median(times[0]), "client-µs")
	b.ReportMetric(median(times[1]), "adapter-µs")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(0, "ns/op") // of both
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// nothing is an output that nobody looks at.
type nothing struct{}

func (nothing) Write(p []byte) (int, error) { return len(p), nil }
func (nothing) Close() error                { return nil }
