//go:build linux

package row

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cocoonstack/cocoon-agent/bench/internal/lab"
	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
	"github.com/cocoonstack/cocoon-agent/bench/internal/report"
)

// Names of samples of a herd's costs.
const (
	agentMemory  = ", agent's memory"
	hostMemory   = ", host's memory"
	agentThreads = ", agent's threads"
)

// compareIdle measures what sleeping execs cost each side's agent and host.
// Each run is a round of its own, with new processes.
func (b *Bench) compareIdle(ctx context.Context) (*report.Row, error) {
	most := slices.Max(b.Size.Idle)
	s := measure.Samples{}
	for range b.Size.IdleRuns {
		if err := b.idleOnce(ctx, most, s); err != nil {
			return nil, err
		}
	}
	row := &report.Row{Name: "idle", Title: fmt.Sprintf("%d sleeping execs", most)}
	for _, m := range []metric{
		{agentMemory, "memory of the agent for each", "KiB", measure.Median},
		{hostMemory, "memory of the host for each", "KiB", measure.Median},
		{agentThreads, "threads of the agent", "", measure.Median},
	} {
		row.Figures = append(row.Figures, m.of(s, b.Head.Name, b.Base.Name)...)
		goal := b.goal(s, "idle", m, noWorse)
		goal.Gate = 0 // few execs share the pages that come with the first ones
		row.Goals = append(row.Goals, goal)
	}
	return row, nil
}

func (b *Bench) idleOnce(ctx context.Context, most int, s measure.Samples) (err error) {
	sides, end, err := b.sides(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	for _, side := range sides {
		if err := sleepBeside(ctx, side, most, s); err != nil {
			return err
		}
	}
	return nil
}

// sleepBeside adds a round to the samples: how much both processes have grown.
func sleepBeside(ctx context.Context, side *lab.Side, execs int, s measure.Samples) error {
	if _, err := side.Take(ctx, "exec 1 1"); err != nil { // what the first exec takes is not the sleepers'
		return err
	}
	agent, host, err := usages(side)
	if err != nil {
		return err
	}
	if _, err := side.Take(ctx, fmt.Sprintf("sleep %d", execs)); err != nil {
		return err
	}
	agentNow, hostNow, err := usages(side)
	if err != nil {
		return err
	}
	add := func(what string, value float64) { s[side.Name+what] = append(s[side.Name+what], []float64{value}) }
	add(agentMemory, float64(agentNow.RSS-agent.RSS)/1024/float64(execs))
	add(hostMemory, float64(hostNow.RSS-host.RSS)/1024/float64(execs))
	add(agentThreads, float64(agentNow.Threads))
	_, err = side.Take(ctx, "wake")
	return err
}

func usages(side *lab.Side) (agent, host lab.Usage, err error) {
	if agent, err = side.Agent.Usage(); err != nil {
		return agent, host, err
	}
	host, err = side.Host.Usage()
	return agent, host, err
}
