//go:build linux

package row

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/cocoonstack/cocoon-agent/bench/internal/lab"
	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
	"github.com/cocoonstack/cocoon-agent/bench/internal/report"
	v1 "github.com/cocoonstack/cocoon-agent/bench/internal/v1"
	"github.com/cocoonstack/cocoon-agent/client"
)

// sleepers are what rests: a shell that waits for a line, with a stdin, stdout
// and stderr, as much as an exec can have. Its exit code says which one it was.
func sleeper(i int) []string {
	return []string{"/bin/sh", "-c", "read line; exit " + strconv.Itoa(code(i))}
}

func code(i int) int { return 1 + i%250 }

// A herd keeps sleepers.
type herd interface {
	start(ctx context.Context, i int) error
	finish(i int) (code int, err error) // has it end
}

// idle measures what execs cost that do nothing, and whether each exit code
// comes back in the end.
func (b *Bench) idle(ctx context.Context) (*report.Row, error) {
	ours, err := b.sleepOn(ctx, b.Size.IdleRuns, b.agentHerd)
	if err != nil {
		return nil, err
	}
	theirs, err := b.sleepOn(ctx, 1, b.v1Herd)
	if err != nil {
		return nil, err
	}
	most := slices.Max(b.Size.Idle)
	return &report.Row{
		Name: "idle", Title: fmt.Sprintf("%d sleeping execs", most),
		Figures: []report.Figure{
			ours.figure(agent+", memory for each", "KiB", ours.each), theirs.figure(version1+", memory for each", "KiB", theirs.each),
			ours.figure(agent+", threads", "", ours.threads), theirs.figure(version1+", threads", "", theirs.threads),
		},
		Goals: []report.Goal{
			{What: fmt.Sprintf("%d sleeping execs, memory for each", most), Unit: "KiB", Limit: 20, Got: measure.SpreadOf(ours.each)},
			{What: fmt.Sprintf("%d sleeping execs, threads", most), Limit: 24, Got: measure.SpreadOf(ours.threads)},
			{What: fmt.Sprintf("%d sleeping execs, exit codes lost", most), Limit: 0, Got: measure.SpreadOf(ours.lost)},
		},
		Charts: []report.Chart{{
			Name: "idle-memory", Title: "resident memory of the agent, by sleeping execs",
			X: report.Axis{Label: "sleeping execs", Ticks: floats(b.Size.Idle)}, Y: report.Axis{Label: "MiB"},
			Lines: []report.Line{ours.line(agent), theirs.line(version1)},
		}},
	}, nil
}

// A rest is what has been seen of herds, for each run.
type rest struct {
	each, threads, lost []float64
	curve               map[int][]float64 // MiB by execs
	order               []int
}

func (r *rest) figure(name, unit string, values []float64) report.Figure {
	return report.Figure{Contender: name, Unit: unit, Samples: len(values), Median: measure.Median(values)}
}

func (r *rest) line(name string) report.Line {
	l := report.Line{Contender: name}
	for _, n := range r.order {
		l.Points = append(l.Points, [2]float64{float64(n), measure.Median(r.curve[n])})
	}
	return l
}

// sleepOn runs herds, each on a server of its own.
func (b *Bench) sleepOn(
	ctx context.Context, runs int, start func(context.Context) (*lab.Server, herd, func(), error),
) (*rest, error) {
	r := &rest{curve: map[int][]float64{}, order: b.Size.Idle}
	for range runs {
		server, h, end, err := start(ctx)
		if err != nil {
			return nil, err
		}
		err = b.sleepOnce(ctx, server, h, r)
		end()
		if err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (b *Bench) sleepOnce(ctx context.Context, s *lab.Server, h herd, r *rest) error {
	var first, last lab.Usage
	asleep := 0
	for i, n := range b.Size.Idle {
		from := asleep
		err := many(8, n-from, func(k int) error { return h.start(ctx, from+k) })
		if err != nil {
			return err
		}
		asleep = n
		if last, err = s.Usage(); err != nil {
			return err
		}
		if i == 0 {
			first = last
		}
		r.curve[n] = append(r.curve[n], float64(last.RSS)/(1<<20))
	}
	r.each = append(r.each, float64(last.RSS-first.RSS)/1024/float64(asleep))
	r.threads = append(r.threads, float64(last.Threads))
	lost := 0
	for i := range asleep {
		if got, err := h.finish(i); err != nil || got != code(i) {
			lost++
		}
	}
	r.lost = append(r.lost, float64(lost))
	return nil
}

// agentHerd is one connection to a new agent.
func (b *Bench) agentHerd(ctx context.Context) (*lab.Server, herd, func(), error) {
	server, err := b.Lab.StartAgent(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	c, err := lab.DialAgent(ctx, server)
	if err == nil {
		err = runTrue(ctx, c) // memory that the first exec takes is not the sleepers'
	}
	if err != nil {
		server.Stop()
		return nil, nil, nil, err
	}
	return server, newAgentHerd(c.Client, slices.Max(b.Size.Idle)), func() { _ = c.Close(); server.Stop() }, nil
}

func newAgentHerd(c *client.Client, n int) *agentHerd {
	return &agentHerd{client: c, cmds: make([]*client.Cmd, n), inputs: make([]io.WriteCloser, n)}
}

type agentHerd struct {
	client *client.Client
	cmds   []*client.Cmd
	inputs []io.WriteCloser
}

func (h *agentHerd) start(ctx context.Context, i int) error {
	argv := sleeper(i)
	cmd := h.client.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = io.Discard, new(counter)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	h.cmds[i], h.inputs[i] = cmd, in
	return cmd.Start()
}

func (h *agentHerd) finish(i int) (int, error) {
	if err := h.inputs[i].Close(); err != nil {
		return 0, err
	}
	err := h.cmds[i].Wait()
	exit, ok := errors.AsType[*client.ExitError](err)
	if !ok {
		return 0, err
	}
	return exit.ExitStatus(), nil
}

// v1Herd has a connection for each.
func (b *Bench) v1Herd(ctx context.Context) (*lab.Server, herd, func(), error) {
	server, err := b.Lab.StartPeer(ctx, "v1")
	if err != nil {
		return nil, nil, nil, err
	}
	if err := runTrue(ctx, lab.V1{Server: server}); err != nil {
		server.Stop()
		return nil, nil, nil, err
	}
	n := slices.Max(b.Size.Idle)
	return server, &v1Herd{server, make([]*v1.Exec, n), make([]*io.PipeWriter, n)}, server.Stop, nil
}

type v1Herd struct {
	server *lab.Server
	execs  []*v1.Exec
	inputs []*io.PipeWriter
}

func (h *v1Herd) start(ctx context.Context, i int) error {
	nc, err := h.server.Dial(ctx)
	if err != nil {
		return err
	}
	r, w := io.Pipe()
	cmd := v1.Cmd{Argv: sleeper(i), Stdin: r, Stdout: io.Discard, Stderr: io.Discard}
	h.inputs[i] = w
	h.execs[i], err = cmd.Start(nc)
	return err
}

func (h *v1Herd) finish(i int) (int, error) {
	_ = h.inputs[i].Close()
	return h.execs[i].Wait()
}
