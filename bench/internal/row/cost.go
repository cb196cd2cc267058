//go:build linux

package row

import (
	"context"
	"time"

	"github.com/cocoonstack/cocoon-agent/bench/internal/lab"
	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
	"github.com/cocoonstack/cocoon-agent/bench/internal/report"
)

const timeSlices = ", slices"

// costs measures what an exec takes of CPU time and time slices, of the benchmark, which
// is the host, and of the server together. OpenSSH starts processes for each: what they
// take is not known.
func (b *Bench) costs(ctx context.Context, c *crew, atOnce int) ([]report.Figure, error) {
	var contenders []measure.Contender
	var others []string
	for _, name := range c.names {
		if name == openSSH {
			continue
		}
		if name != agent {
			others = append(others, name)
		}
		one := &cost{name: name, by: c.by[name], execs: b.Size.Costs, atOnce: atOnce, run: c.run[name]}
		contenders = append(contenders, measure.Contender{Name: name, Sample: one.cpu, More: one.slices})
	}
	s, err := measure.Alternate(ctx, measure.Plan{Warm: 1, Rounds: b.Size.Rate.Rounds, Samples: 1}, contenders)
	if err != nil {
		return nil, err
	}
	figures := metric{"", "CPU for one", "µs", measure.Mean}.of(s, agent, others...)
	if measure.Median(s.All(agent+timeSlices)) > 0 { // a kernel without CONFIG_SCHED_INFO counts none
		figures = append(figures, metric{timeSlices, "time slices for one", "", measure.Mean}.of(s, agent, others...)...)
	}
	return figures, nil
}

// A cost takes samples of one contender.
type cost struct {
	name   string
	by     *lab.Process // nil: the benchmark itself
	execs  int          // of a sample
	atOnce int
	run    lab.Runner

	taken lab.Work // by the last sample
}

// cpu returns µs for one exec. The work of a server after its last answer counts in no
// sample.
func (c *cost) cpu(ctx context.Context) (float64, error) {
	before, err := c.work()
	if err != nil {
		return 0, err
	}
	if err := many(c.atOnce, c.execs, func(int) error { return runTrue(ctx, c.run) }); err != nil {
		return 0, err
	}
	now, err := c.work()
	c.taken = now.Since(before)
	return float64(c.taken.CPU) / float64(time.Microsecond) / float64(c.execs), err
}

func (c *cost) slices() (map[string]float64, error) {
	return map[string]float64{c.name + timeSlices: float64(c.taken.Slices) / float64(c.execs)}, nil
}

func (c *cost) work() (lab.Work, error) {
	w, err := lab.OwnWork()
	if err != nil || c.by == nil {
		return w, err
	}
	server, err := c.by.Work()
	return w.And(server), err
}
