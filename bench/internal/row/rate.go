//go:build linux

package row

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cocoonstack/cocoon-agent/bench/internal/lab"
	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
	"github.com/cocoonstack/cocoon-agent/bench/internal/report"
)

// atOnce is how many execs the goal is about.
const atOnce = 64

// rate measures how many execs are done in a second, many at once: by the agent
// on one connection, by version 1 on as many connections as there are execs.
func (b *Bench) rate(ctx context.Context) (*report.Row, error) {
	c, err := b.starters(ctx)
	if err != nil {
		return nil, err
	}
	defer c.end()
	var contenders []measure.Contender
	for _, name := range c.names {
		one := measure.Contender{Name: name, Sample: b.batches(c.run[name], atOnce, b.Size.RateBatch)}
		if name == openSSH { // 64 clients for one batch are enough of a load
			one.Every = b.Size.Rate.Samples
			one.Sample = b.batches(c.run[name], atOnce, atOnce)
		}
		contenders = append(contenders, one)
	}
	s, err := measure.Alternate(ctx, b.Size.Rate, contenders)
	if err != nil {
		return nil, err
	}
	chart, err := b.rateChart(ctx, c)
	if err != nil {
		return nil, err
	}
	costs, err := b.costs(ctx, c, atOnce)
	if err != nil {
		return nil, err
	}
	return &report.Row{
		Name: "rate", Title: "execs per second, 64 at once",
		Figures: append(figures(s, c.names, "/s", false), costs...),
		Goals: []report.Goal{{
			What: "execs per second, 64 at once ÷ os/exec", Unit: "×", Limit: 0.97, AtLeast: true,
			Got: measure.SpreadOf(s.Ratio(agent, osExec, measure.Median)),
		}},
		Charts: []report.Chart{chart},
	}, nil
}

// batches returns a sample of so many execs, so many at once.
func (b *Bench) batches(r lab.Runner, atOnce, execs int) func(context.Context) (float64, error) {
	return func(ctx context.Context) (float64, error) {
		begun := time.Now()
		err := many(atOnce, execs, func(int) error { return runTrue(ctx, r) })
		return float64(execs) / time.Since(begun).Seconds(), err
	}
}

// many calls f for 0 to n-1, some at once, and returns the first error.
func many(atOnce, n int, f func(int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for range min(atOnce, n) {
		all.Go(func() { // ends with the calls, or the first error
			for {
				i := int(next.Add(1)) - 1
				if i >= n || failed.Load() != nil {
					return
				}
				if err := f(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (b *Bench) rateChart(ctx context.Context, c *crew) (report.Chart, error) {
	chart := report.Chart{
		Name: "exec-rate", Title: "execs of " + theCommand + " per second, by how many at once",
		X: report.Axis{Label: "execs at once", Log: true, Ticks: floats(b.Size.RateCurve)},
		Y: report.Axis{Label: "execs per second"},
	}
	lines := map[string]*report.Line{}
	for _, n := range b.Size.RateCurve {
		var contenders []measure.Contender
		for _, name := range c.names {
			if name != openSSH {
				execs := max(min(b.Size.RateBatch/2, 64*n), n)
				contenders = append(contenders, measure.Contender{Name: name, Sample: b.batches(c.run[name], n, execs)})
			}
		}
		s, err := measure.Alternate(ctx, measure.Plan{Rounds: 1, Samples: b.Size.CurveSteps}, contenders)
		if err != nil {
			return chart, err
		}
		addPoints(lines, s, float64(n))
	}
	chart.Lines = inOrder(lines, c.names)
	return chart, nil
}

// addPoints adds each contender's median to its line.
func addPoints(lines map[string]*report.Line, s measure.Samples, x float64) {
	for name := range s {
		if lines[name] == nil {
			lines[name] = &report.Line{Contender: name}
		}
		lines[name].Points = append(lines[name].Points, [2]float64{x, measure.Median(s.All(name))})
	}
}

func inOrder(lines map[string]*report.Line, names []string) []report.Line {
	var out []report.Line
	for _, name := range names {
		if line := lines[name]; line != nil {
			out = append(out, *line)
		}
	}
	return out
}

func floats(ints []int) []float64 {
	var out []float64
	for _, i := range ints {
		out = append(out, float64(i))
	}
	return out
}
