//go:build linux

package row

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"

	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
	"github.com/cocoonstack/cocoon-agent/bench/internal/report"
	"github.com/cocoonstack/cocoon-agent/client"
)

// upgrade measures for how long an agent serves nobody that is upgraded in place, to itself,
// beside commands of three pipes.
func (b *Bench) upgrade(ctx context.Context) (*report.Row, error) {
	many := slices.Max(b.Size.Idle)
	if b.Lab.Vsock || many == 0 {
		return nil, fmt.Errorf("%w: an upgrade: over Unix sockets only", ErrSkipped)
	}
	s, control, err := b.Lab.StartUpgradable(ctx, many)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	if err := detachAll(ctx, s.Target, many); err != nil {
		return nil, err
	}
	var silence []float64
	for range 5 {
		ms, err := upgradeOnce(ctx, b.Lab.Agent, control)
		if err != nil {
			return nil, err
		}
		silence = append(silence, ms)
	}
	return &report.Row{
		Name: "upgrade", Title: fmt.Sprintf("upgrade in place beside %d commands", many),
		Figures: []report.Figure{{
			Contender: "nobody is served for", Unit: "ms", Samples: len(silence), Median: measure.Median(silence), P99: measure.P99(silence),
		}},
		Goals: []report.Goal{{What: fmt.Sprintf("silence of an upgrade beside %d commands", many), Unit: "ms", Limit: 250, Got: measure.SpreadOf(silence)}},
	}, nil
}

// detachAll starts detached commands that wait for input.
func detachAll(ctx context.Context, target string, many int) error {
	c, err := client.Dial(ctx, target)
	if err != nil {
		return err
	}
	defer c.Close()
	for range many {
		cmd := c.CommandContext(ctx, "cat")
		cmd.Outlive = client.Outlive{Detach: true, Ring: 4096}
		if _, err := cmd.StdinPipe(); err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
	}
	return nil
}

func upgradeOnce(ctx context.Context, program, control string) (ms float64, err error) {
	out, err := exec.CommandContext(ctx, program, "upgrade", "--json", "--control", control).Output()
	if err != nil {
		return 0, fmt.Errorf("upgrade: %w: %s", err, out)
	}
	var answer struct {
		SilenceUS int64 `json:"silence_us"`
	}
	err = json.Unmarshal(out, &answer)
	return float64(answer.SilenceUS) / 1000, err
}
