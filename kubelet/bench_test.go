//go:build linux

package kubelet_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cocoonstack/cocoon-agent/kubelet"
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

// BenchmarkExecDuringScrape runs commands while the figures of 200 VMs are gathered, and as
// many afterwards. 5 of the VMs do not answer. It compares the medians.
func BenchmarkExecDuringScrape(b *testing.B) {
	ln, err := net.Listen("unix", b.TempDir()+"/silent")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	pool := newPool(b)
	resolve := func(_ context.Context, _, pod, _ string) (*kubelet.Target, error) {
		if strings.HasPrefix(pod, "silent") {
			return &kubelet.Target{Agent: "unix://" + ln.Addr().String()}, nil
		}
		return &kubelet.Target{Agent: shared}, nil
	}
	var names []string
	for i := range 200 {
		kind := "vm"
		if i%40 == 0 {
			kind = "silent"
		}
		names = append(names, fmt.Sprint(kind, i))
	}
	exec := func(p *kubelet.Pods) float64 {
		began := time.Now()
		if err := p.RunInContainer(b.Context(), "default", "vm", "main", []string{"true"}, &attachIO{stdout: nothing{}, stderr: nothing{}}); err != nil {
			b.Fatal(err)
		}
		return float64(time.Since(began).Microseconds())
	}
	var quiet, during, ratios []float64
	for b.Loop() {
		p := kubelet.New(pool, resolve)
		p.Usage.Pods = func(context.Context) ([]*corev1.Pod, error) { return podsOf(names...), nil }
		ended := make(chan error, 1)
		go func() {
			_, err := p.GetStatsSummary(b.Context())
			ended <- err
		}()
		var now, then []float64
		for len(ended) == 0 {
			now = append(now, exec(p))
		}
		if err := <-ended; err != nil {
			b.Fatal(err)
		}
		for range now {
			then = append(then, exec(p))
		}
		during, quiet = append(during, now...), append(quiet, then...)
		ratios = append(ratios, median(now)/median(then))
	}
	b.ReportMetric(median(quiet), "quiet-µs")
	b.ReportMetric(median(during), "scrape-µs")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(0, "ns/op") // of all
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
