//go:build linux

package row

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/cocoonstack/cocoon-agent/bench/internal/lab"
	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
	"github.com/cocoonstack/cocoon-agent/bench/internal/report"
)

// socketWrite matches strace's line of a call that writes to a socket: -y has
// it say what a descriptor is. A call that was interrupted has a second line,
// "<... write resumed>", which does not match.
var socketWrite = regexp.MustCompile(`(?m)^(?:\d+ +)?(?:write|writev|sendto|sendmsg)\(\d+<(?:socket|UNIX|AF_VSOCK)[^>]*>`)

// writes counts the agent's writes on the socket for one exec: on vsock each
// is a packet, and a VM exit.
func (b *Bench) writes(ctx context.Context) (*report.Row, error) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		return nil, fmt.Errorf("%w: no strace: apt-get install strace", ErrSkipped)
	}
	trace := filepath.Join(b.Lab.Dir, "trace")
	// -D: the agent is the lab's own child, and strace is ended by its end.
	s, err := b.Lab.StartAgent(ctx, strace, "-D", "-f", "-y", "-e", "trace=write,writev,sendto,sendmsg", "-e", "signal=none", "-o", trace)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	c, err := lab.DialAgent(ctx, s)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var counts []float64
	for range b.Size.WriteRuns {
		n, err := during(trace, func() error { return runTrue(ctx, c) })
		if err != nil {
			return nil, err
		}
		counts = append(counts, n)
	}
	return &report.Row{
		Name: "writes", Title: "writes on the socket for one exec",
		Figures: []report.Figure{{
			Contender: agent, Samples: len(counts), Median: measure.Median(counts), P99: measure.P99(counts),
		}},
		Goals: []report.Goal{{What: "writes on the socket for one exec", Limit: 6, Got: measure.SpreadOf(counts)}},
	}, nil
}

// during counts the socket writes that are traced while f runs.
func during(trace string, f func() error) (float64, error) {
	before, err := os.ReadFile(trace)
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := os.ReadFile(trace)
	if err != nil {
		return 0, err
	}
	return float64(len(socketWrite.FindAllString(strings.TrimPrefix(string(after), string(before)), -1))), nil
}
