//go:build linux

package row

import (
	"context"
	"os"
	"time"

	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
	"github.com/cocoonstack/cocoon-agent/bench/internal/report"
)

// settleTime is how long an agent is left alone before its memory is looked at.
const settleTime = 500 * time.Millisecond

// rest measures an agent that has nothing to do, and how it gets there.
func (b *Bench) rest(ctx context.Context) (*report.Row, error) {
	program, err := os.Stat(b.Lab.Agent)
	if err != nil {
		return nil, err
	}
	var listening, memory []float64
	for range b.Size.Starts {
		took, err := b.startOnce(ctx)
		if err != nil {
			return nil, err
		}
		listening = append(listening, took)
	}
	for range 3 {
		rss, err := b.restOnce(ctx)
		if err != nil {
			return nil, err
		}
		memory = append(memory, rss)
	}
	size := []float64{float64(program.Size()) / (1 << 20)}
	return &report.Row{
		Name: "rest", Title: "the agent at rest",
		Figures: []report.Figure{
			{Contender: "resident memory", Unit: "MiB", Samples: len(memory), Median: measure.Median(memory)},
			{Contender: "the program's file", Unit: "MiB", Samples: 1, Median: size[0]},
			{
				Contender: "from exec to a connection", Unit: "ms", Samples: len(listening),
				Median: measure.Median(listening), P99: measure.P99(listening),
			},
		},
		Goals: []report.Goal{
			{What: "agent at rest, resident memory", Unit: "MiB", Limit: 8, Got: measure.SpreadOf(memory)},
			{What: "the program's file", Unit: "MiB", Limit: 8, Got: measure.SpreadOf(size)},
			{What: "from exec to a connection", Unit: "ms", Limit: 20, Got: measure.SpreadOf(listening)},
		},
	}, nil
}

// startOnce returns how many ms after its fork an agent takes a connection.
func (b *Bench) startOnce(ctx context.Context) (float64, error) {
	s, err := b.Lab.StartAgent(ctx)
	if err != nil {
		return 0, err
	}
	took := time.Since(s.Begun)
	s.Stop()
	return float64(took) / float64(time.Millisecond), nil
}

// restOnce returns the MiB of an agent that nobody has spoken to.
func (b *Bench) restOnce(ctx context.Context) (float64, error) {
	s, err := b.Lab.StartAgent(ctx)
	if err != nil {
		return 0, err
	}
	defer s.Stop()
	select {
	case <-time.After(settleTime):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	u, err := s.Usage()
	return float64(u.RSS) / (1 << 20), err
}
