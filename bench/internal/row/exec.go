//go:build linux

package row

import (
	"bytes"
	"context"
	"time"

	"github.com/cocoonstack/cocoon-agent/bench/internal/lab"
	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
	"github.com/cocoonstack/cocoon-agent/bench/internal/report"
)

// theCommand ends as soon as it has begun: what is measured is the rest.
const theCommand = "/bin/true"

// runTrue is one exec as every contender does it: stdin is /dev/null, stdout
// and stderr are read to their ends, and the exit status is known.
func runTrue(ctx context.Context, r lab.Runner) error {
	var stdout bytes.Buffer
	return r.Run(ctx, lab.Command{Argv: []string{theCommand}, Stdout: &stdout})
}

// exec measures how long one exec takes from call to return, one at a time.
func (b *Bench) exec(ctx context.Context) (*report.Row, error) {
	c, err := b.starters(ctx)
	if err != nil {
		return nil, err
	}
	defer c.end()
	var contenders []measure.Contender
	for _, name := range c.names {
		one := measure.Contender{Name: name, Sample: timed(c.run[name])}
		if name == openSSH {
			one.Every = b.Size.SSHEvery
		}
		contenders = append(contenders, one)
	}
	s, err := measure.Alternate(ctx, b.Size.Exec, contenders)
	if err != nil {
		return nil, err
	}
	costs, err := b.costs(ctx, c, 1)
	if err != nil {
		return nil, err
	}
	return &report.Row{
		Name: "exec", Title: "exec " + theCommand + ", warm",
		Figures: append(figures(s, c.names, "µs", true), costs...),
		Goals: []report.Goal{
			{What: "exec, median ÷ os/exec", Unit: "×", Limit: 1.1, Got: measure.SpreadOf(s.Ratio(agent, osExec, measure.Median))},
			{What: "exec, median ÷ version 1", Unit: "×", Limit: 0.8, Got: measure.SpreadOf(s.Ratio(agent, version1, measure.Median))},
			{What: "exec, p99 ÷ os/exec", Unit: "×", Limit: 1.25, Got: measure.SpreadOf(s.Ratio(agent, osExec, measure.P99))},
		},
		Charts: []report.Chart{latencyChart(s, c.names)},
	}, nil
}

func timed(r lab.Runner) func(context.Context) (float64, error) {
	return func(ctx context.Context) (float64, error) {
		begun := time.Now()
		err := runTrue(ctx, r)
		return float64(time.Since(begun)) / float64(time.Microsecond), err
	}
}

// latencyChart shows which part of the execs were over within a time.
func latencyChart(s measure.Samples, names []string) report.Chart {
	const points = 200
	c := report.Chart{
		Name: "exec-latency", Title: "exec " + theCommand + ": how many are over within a time",
		X: report.Axis{Label: "µs", Log: true, Ticks: []float64{500, 700, 1000, 1500, 2000, 3000, 5000, 10000, 20000}},
		Y: report.Axis{Label: "percent of execs"},
	}
	for _, name := range names {
		line := report.Line{Contender: name}
		all := s.All(name)
		for i := range points {
			q := (float64(i) + 0.5) / points
			line.Points = append(line.Points, [2]float64{measure.Quantile(all, q), 100 * q})
		}
		c.Lines = append(c.Lines, line)
	}
	return c
}
