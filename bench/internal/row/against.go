//go:build linux

package row

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cocoonstack/cocoon-agent/bench/internal/lab"
	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
	"github.com/cocoonstack/cocoon-agent/bench/internal/report"
)

// Comparisons are the rows of a run against another revision. Each side has its
// own agent and its own host, and they take samples in turn.
var Comparisons = []Row{
	{"exec", (*Bench).compareExec},
	{"rate", (*Bench).compareRate},
	{"stdout", (*Bench).compareStdout},
	{"stdin", (*Bench).compareStdin},
	{"ping", (*Bench).comparePing},
	{"busy", (*Bench).compareBusy},
	{"idle", (*Bench).compareIdle},
}

// A comparison is a row of Comparisons, but for idle.
type comparison struct {
	name, title string
	line        string  // that a host is given for one sample
	units       float64 // of work in a sample: execs, GB, pings
	unit        string  // of the figures: µs or ms for one unit of work
	plan        measure.Plan
	goals       []ratioGoal
}

// A ratioGoal bounds head ÷ base. The limits are those of this program's development since
// 245f844; against another revision they are as good as any.
type ratioGoal struct {
	metric string // suffix of the samples' names
	limit  float64
}

// noWorse is the limit of what need not get better.
const noWorse = 1.03

// gate is the gate of CPU time, head ÷ base. It cannot follow from a limit: the ratio
// depends on the machine. The same code had 0.73 for an exec on one virtual machine.
// Another of the same kind had 1.00, since its wake-ups cost more.
const gate = 1.25

func (b *Bench) compareExec(ctx context.Context) (*report.Row, error) {
	const execs = 10 // so that the line and its answer count for little
	plan := b.Size.Exec
	plan.Warm, plan.Samples = max(plan.Warm/execs, 1), max(plan.Samples/execs, 1)
	return b.compare(ctx, comparison{
		"exec", "exec " + theCommand + ", one at a time", fmt.Sprintf("exec %d 1", execs), execs, "µs", plan,
		[]ratioGoal{{"", 0.75}, {agentCPU, 0.65}, {hostCPU, 1}},
	})
}

func (b *Bench) compareRate(ctx context.Context) (*report.Row, error) {
	n := b.Size.RateBatch
	return b.compare(ctx, comparison{
		"rate", "exec " + theCommand + ", 64 at once", fmt.Sprintf("exec %d %d", n, atOnce), float64(n), "µs", b.Size.Rate,
		[]ratioGoal{{"", 0.95}, {agentCPU, 1}},
	})
}

func (b *Bench) compareStdout(ctx context.Context) (*report.Row, error) {
	return b.compareBytes(ctx, "stdout", 0.75)
}

func (b *Bench) compareStdin(ctx context.Context) (*report.Row, error) {
	return b.compareBytes(ctx, "stdin", 0.8)
}

func (b *Bench) compareBytes(ctx context.Context, direction string, cpu float64) (*report.Row, error) {
	return b.compare(ctx, comparison{
		direction, "a GB of " + direction + ", writes of 64 KiB",
		fmt.Sprintf("%s %d %d", direction, b.Size.Bytes, judged), float64(b.Size.Bytes) / 1e9, "ms", b.Size.Throughput,
		[]ratioGoal{{"", noWorse}, {sidesCPU, cpu}},
	})
}

const comparedPings = 100

func (b *Bench) comparePing(ctx context.Context) (*report.Row, error) {
	return b.compare(ctx, comparison{
		"ping", "ping", fmt.Sprintf("ping %d", comparedPings), comparedPings, "µs", b.Size.pings(),
		[]ratioGoal{{"", noWorse}},
	})
}

func (b *Bench) compareBusy(ctx context.Context) (*report.Row, error) {
	c := comparison{
		"busy", "ping, 4 execs saturate stdout", fmt.Sprintf("busy %d", comparedPings), comparedPings, "µs", b.Size.pings(),
		[]ratioGoal{{"", noWorse}},
	}
	row, err := b.compare(ctx, c)
	if err == nil {
		row.Figures = row.Figures[:2] // the CPU time is the load's
	}
	return row, err
}

// pings is Ping in samples of comparedPings each.
func (s Size) pings() measure.Plan {
	return measure.Plan{Warm: 1, Rounds: s.Ping.Rounds, Samples: max(s.Ping.Samples/comparedPings, 1)}
}

func (b *Bench) compare(ctx context.Context, c comparison) (_ *report.Row, err error) {
	sides, end, err := b.sides(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	var contenders []measure.Contender
	for _, s := range sides {
		one, err := warm(ctx, s, c)
		if err != nil {
			return nil, err
		}
		contenders = append(contenders, measure.Contender{Name: s.Name, Sample: one.sample, More: one.work})
	}
	s, err := measure.Alternate(ctx, c.plan, contenders)
	if err != nil {
		return nil, err
	}
	row := &report.Row{Name: c.name, Title: c.title}
	metrics := []metric{
		{"", "time", c.unit, measure.Median},
		{agentCPU, "CPU of the agent", c.unit, measure.Mean},
		{hostCPU, "CPU of the host", c.unit, measure.Mean},
		{sidesCPU, "CPU of both", c.unit, measure.Mean},
	}
	if measure.Median(s.All(b.Head.Name+agentSlices)) > 0 { // a kernel without CONFIG_SCHED_INFO counts none
		metrics = append(metrics, metric{agentSlices, "time slices of the agent", "", measure.Mean})
	}
	for _, m := range metrics {
		row.Figures = append(row.Figures, m.of(s, b.Head.Name, b.Base.Name)...)
		for _, g := range c.goals {
			if g.metric == m.suffix {
				row.Goals = append(row.Goals, b.goal(s, c.name, m, g.limit))
			}
		}
	}
	return row, nil
}

// goal bounds head ÷ base of a metric.
func (b *Bench) goal(s measure.Samples, row string, m metric, limit float64) report.Goal {
	goal := report.Goal{
		What: row + ": " + m.what, Unit: "×", Limit: limit,
		Got: measure.SpreadOf(s.Ratio(b.Head.Name+m.suffix, b.Base.Name+m.suffix, m.figure)),
	}
	if m.suffix != "" {
		goal.Gate = gate
	}
	return goal
}

// sides starts head and base.
func (b *Bench) sides(ctx context.Context) (sides []*lab.Side, end func() error, err error) {
	end = func() error {
		var err error
		for _, s := range sides {
			err = errors.Join(err, s.Stop())
		}
		return err
	}
	for _, build := range []lab.Build{b.Head, *b.Base} {
		s, err := b.Lab.StartSide(ctx, build)
		if err != nil {
			return nil, nil, errors.Join(err, end())
		}
		sides = append(sides, s)
	}
	return sides, end, nil
}

// Names of samples that are taken beside the time.
const (
	agentCPU    = ", agent's CPU"
	hostCPU     = ", host's CPU"
	sidesCPU    = ", both's CPU"
	agentSlices = ", agent's slices"
)

// compared takes samples of one side.
type compared struct {
	comparison
	side *lab.Side

	agent, host lab.Work // at the end of the last sample
}

// warm has a side do one exec, so that what its processes took to start counts
// in no sample.
func warm(ctx context.Context, s *lab.Side, c comparison) (*compared, error) {
	one := &compared{comparison: c, side: s}
	if _, err := s.Take(ctx, "exec 1 1"); err != nil {
		return nil, err
	}
	_, err := one.work()
	return one, err
}

func (c *compared) sample(ctx context.Context) (float64, error) {
	took, err := c.side.Take(ctx, c.line)
	return c.figure(took), err
}

// work returns what was taken since the last sample: what a process does after its
// answer counts as well, in the next sample.
func (c *compared) work() (map[string]float64, error) {
	agent, err := c.side.Agent.Work()
	if err != nil {
		return nil, err
	}
	host, err := c.side.Host.Work()
	if err != nil {
		return nil, err
	}
	agents, hosts := agent.Since(c.agent), host.Since(c.host)
	c.agent, c.host = agent, host
	return map[string]float64{
		c.side.Name + agentCPU: c.figure(agents.CPU), c.side.Name + hostCPU: c.figure(hosts.CPU),
		c.side.Name + sidesCPU:    c.figure(agents.CPU + hosts.CPU),
		c.side.Name + agentSlices: float64(agents.Slices) / c.units,
	}, nil
}

// figure is for one unit of work.
func (c *compared) figure(d time.Duration) float64 {
	unit := time.Microsecond
	if c.unit == "ms" {
		unit = time.Millisecond
	}
	return float64(d) / float64(unit) / c.units
}
