//go:build linux

package row

import (
	"context"
	"fmt"

	"github.com/cocoonstack/cocoon-agent/bench/internal/lab"
	"github.com/cocoonstack/cocoon-agent/bench/internal/report"
)

// soak measures what stays in memory of work that is done.
func (b *Bench) soak(ctx context.Context) (*report.Row, error) {
	row := &report.Row{Name: "soak", Title: "resident memory of the agent after work"}
	const million = 1_000_000
	for _, work := range []struct {
		name string
		do   func(lab.Agent) error
	}{
		{"one exec", func(a lab.Agent) error { return runTrue(ctx, a) }},
		{"a million bytes of stdout", func(a lab.Agent) error { return b.runOut(ctx, a, million, judged) }},
		{"a million bytes of stdin", func(a lab.Agent) error { return b.runIn(ctx, a, million, judged) }},
		{fmt.Sprintf("%d execs, one at a time", b.Size.Soak), func(a lab.Agent) error {
			return many(1, b.Size.Soak, func(int) error { return runTrue(ctx, a) })
		}},
		{fmt.Sprintf("%d execs, 64 at once", b.Size.Soak), func(a lab.Agent) error {
			return many(atOnce, b.Size.Soak, func(int) error { return runTrue(ctx, a) })
		}},
	} {
		rss, err := b.after(ctx, work.do)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", work.name, err)
		}
		row.Figures = append(row.Figures, report.Figure{Contender: "after " + work.name, Unit: "MiB", Samples: 1, Median: rss})
	}
	return row, nil
}

// after returns the MiB of a new agent that has done some work.
func (b *Bench) after(ctx context.Context, work func(lab.Agent) error) (float64, error) {
	s, err := b.Lab.StartAgent(ctx)
	if err != nil {
		return 0, err
	}
	defer s.Stop()
	c, err := lab.DialAgent(ctx, s)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := work(c); err != nil {
		return 0, err
	}
	u, err := s.Usage()
	return float64(u.RSS) / (1 << 20), err
}
