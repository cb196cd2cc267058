//go:build linux

package row

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/cocoonstack/cocoon-agent/bench/internal/lab"
	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
	"github.com/cocoonstack/cocoon-agent/bench/internal/plain"
	"github.com/cocoonstack/cocoon-agent/bench/internal/report"
)

// judged is the size of writes for which the goals hold: a pipe's, and what
// tar, gzip and cat write at a time or less.
const judged = 64 << 10

// mb is the unit of throughput.
const mb = 1e6

// copies are the sizes of pipe and buffer with which a plain copy is tried. The
// best of them, in the run's own figures, is what the agent is held against.
var copies = []plain.Request{
	{Pipe: 64 << 10, Buffer: 64 << 10},
	{Pipe: 256 << 10, Buffer: 64 << 10},
	{Pipe: 256 << 10, Buffer: 256 << 10},
	{Pipe: 1 << 20, Buffer: 64 << 10},
	{Pipe: 1 << 20, Buffer: 256 << 10},
	{Pipe: 1 << 20, Buffer: 1 << 20},
}

// plainName begins the names of plain copies.
const plainName = "plain copy"

// A direction is one of the two rows.
type direction struct {
	name  string
	title string

	// carry has one contender carry so many bytes in writes of a chunk.
	run  func(b *Bench, ctx context.Context, r lab.Runner, bytes int64, chunk int) error
	copy func(b *Bench, ctx context.Context, s *lab.Server, r plain.Request, bytes int64, chunk int) error
}

func (b *Bench) stdout(ctx context.Context) (*report.Row, error) {
	return b.throughput(ctx, direction{"stdout", "throughput of stdout", (*Bench).runOut, (*Bench).copyOut})
}

func (b *Bench) stdin(ctx context.Context) (*report.Row, error) {
	return b.throughput(ctx, direction{"stdin", "throughput of stdin", (*Bench).runIn, (*Bench).copyIn})
}

// throughput measures bytes per second, the start and the end of the command included.
func (b *Bench) throughput(ctx context.Context, d direction) (*report.Row, error) {
	c, err := b.crew(ctx)
	if err != nil {
		return nil, err
	}
	defer c.end()
	server, err := b.Lab.StartPeer(ctx, "copy")
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	s, err := measure.Alternate(ctx, b.Size.Throughput, append(b.carriers(c, d, judged), b.copiers(d, server, judged, copies)...))
	if err != nil {
		return nil, err
	}
	best := bestCopy(s)
	chart, err := b.throughputChart(ctx, c, d, server, best)
	if err != nil {
		return nil, err
	}
	names := append([]string{agent, copyName(best)}, without(c.names, agent)...)
	return &report.Row{
		Name: d.name, Title: d.title + ", writes of 64 KiB",
		Figures: figures(s, names, "MB/s", false),
		Goals:   b.throughputGoals(s, d, copyName(best)),
		Charts:  []report.Chart{chart},
	}, nil
}

func (b *Bench) throughputGoals(s measure.Samples, d direction, best string) []report.Goal {
	goal := func(by, what string, limit float64) report.Goal {
		return report.Goal{
			What: d.name + " throughput ÷ " + what, Unit: "×", Limit: limit, AtLeast: true,
			Got: measure.SpreadOf(s.Ratio(agent, by, measure.Median)),
		}
	}
	goals := []report.Goal{goal(best, "best plain copy", 0.8), goal(version1, version1, 10)}
	if b.SSH != nil {
		goals = append(goals, goal(openSSH, openSSH, 5))
	}
	return goals
}

// carriers are the contenders that run commands. The slow ones carry less.
func (b *Bench) carriers(c *crew, d direction, chunk int) []measure.Contender {
	var out []measure.Contender
	for _, name := range c.names {
		bytes := b.Size.Bytes
		if name == version1 || name == openSSH {
			bytes /= 8
		}
		out = append(out, measure.Contender{Name: name, Sample: perSecond(bytes, func(ctx context.Context) error {
			return d.run(b, ctx, c.run[name], bytes, chunk)
		})})
	}
	return out
}

func (b *Bench) copiers(d direction, s *lab.Server, chunk int, requests []plain.Request) []measure.Contender {
	var out []measure.Contender
	for _, r := range requests {
		out = append(out, measure.Contender{Name: copyName(r), Sample: perSecond(b.Size.Bytes, func(ctx context.Context) error {
			return d.copy(b, ctx, s, r, b.Size.Bytes, chunk)
		})})
	}
	return out
}

func copyName(r plain.Request) string {
	return fmt.Sprintf("%s, %d KiB pipe, %d KiB buffer", plainName, r.Pipe>>10, r.Buffer>>10)
}

func bestCopy(s measure.Samples) plain.Request {
	best := copies[0]
	for _, r := range copies {
		if measure.Median(s.All(copyName(r))) > measure.Median(s.All(copyName(best))) {
			best = r
		}
	}
	return best
}

func perSecond(bytes int64, carry func(context.Context) error) func(context.Context) (float64, error) {
	return func(ctx context.Context) (float64, error) {
		begun := time.Now()
		err := carry(ctx)
		return float64(bytes) / mb / time.Since(begun).Seconds(), err
	}
}

func (b *Bench) throughputChart(
	ctx context.Context, c *crew, d direction, s *lab.Server, best plain.Request,
) (report.Chart, error) {
	chart := report.Chart{
		Name: d.name + "-throughput", Title: d.title + ", by the size of writes",
		X: report.Axis{Label: "bytes of a write, KiB", Log: true},
		Y: report.Axis{Label: "MB/s"},
	}
	lines := map[string]*report.Line{}
	for _, chunk := range b.Size.Chunks {
		chart.X.Ticks = append(chart.X.Ticks, float64(chunk>>10))
		contenders := append(b.carriers(c, d, chunk), b.copiers(d, s, chunk, []plain.Request{best})...)
		samples, err := measure.Alternate(ctx, measure.Plan{Rounds: 1, Samples: b.Size.CurveSteps}, contenders)
		if err != nil {
			return chart, err
		}
		addPoints(lines, samples, float64(chunk>>10))
	}
	chart.Lines = inOrder(lines, append([]string{copyName(best)}, c.names...))
	chart.Lines[0].Contender = "best plain copy"
	return chart, nil
}

func (b *Bench) runOut(ctx context.Context, r lab.Runner, bytes int64, chunk int) error {
	var got counter
	argv := []string{b.Lab.Peer, "produce", strconv.FormatInt(bytes, 10), strconv.Itoa(chunk)}
	return got.check(bytes, r.Run(ctx, lab.Command{Argv: argv, Stdout: &got}))
}

func (b *Bench) copyOut(ctx context.Context, s *lab.Server, r plain.Request, bytes int64, chunk int) error {
	nc, err := s.Dial(ctx)
	if err != nil {
		return err
	}
	r.Argv = []string{b.Lab.Peer, "produce", strconv.FormatInt(bytes, 10), strconv.Itoa(chunk)}
	n, err := plain.Output(nc, r)
	got := counter(n)
	return got.check(bytes, err)
}

func (b *Bench) runIn(ctx context.Context, r lab.Runner, bytes int64, chunk int) error {
	var none counter
	argv := []string{b.Lab.Peer, "consume", strconv.FormatInt(bytes, 10)}
	return r.Run(ctx, lab.Command{Argv: argv, Stdin: zeros(bytes, chunk), Stdout: &none})
}

func (b *Bench) copyIn(ctx context.Context, s *lab.Server, r plain.Request, bytes int64, chunk int) error {
	nc, err := s.Dial(ctx)
	if err != nil {
		return err
	}
	r.Argv, r.Bytes = []string{b.Lab.Peer, "consume", strconv.FormatInt(bytes, 10)}, bytes
	return plain.Input(nc, r, zeros(bytes, chunk), chunk)
}

// A counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func (c *counter) check(want int64, err error) error {
	if err == nil && int64(*c) != want {
		err = fmt.Errorf("%d bytes came, want %d", *c, want)
	}
	return err
}

// zeros reads as n bytes, at most a chunk at a time.
func zeros(n int64, chunk int) io.Reader {
	return io.LimitReader(chunked(chunk), n)
}

// A chunked reads so many bytes at a time, without the cost of making them.
type chunked int

func (c chunked) Read(p []byte) (int, error) { return min(len(p), int(c)), nil }

func without(names []string, name string) []string {
	var out []string
	for _, n := range names {
		if n != name {
			out = append(out, n)
		}
	}
	return out
}
