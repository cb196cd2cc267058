//go:build linux

// Package row has what is measured: each row starts its contenders, samples
// them in turn, ends them, and gives figures and goals.
package row

import (
	"context"
	"errors"
	"fmt"

	"github.com/cocoonstack/cocoon-agent/bench/internal/lab"
	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
	"github.com/cocoonstack/cocoon-agent/bench/internal/report"
)

// The contenders' names.
const (
	agent    = "cocoon-agent"
	osExec   = "os/exec"
	session  = "os/exec, Setsid"
	goServer = "net/rpc and os/exec"
	version1 = "version 1"
	openSSH  = "OpenSSH"
)

// A Bench is what rows are measured with.
type Bench struct {
	Lab  *lab.Lab
	SSH  *lab.SSH // nil: there is none
	Size Size

	// Head and Base are what Comparisons compare.
	Head lab.Build
	Base *lab.Build // nil: All are measured
}

// A Row is a name, which serves to choose it, and how it is measured.
type Row struct {
	Name    string
	Measure func(*Bench, context.Context) (*report.Row, error)
}

// All are the rows, in the order in which they are measured: those that need a
// machine at rest come first.
var All = []Row{
	{"rest", (*Bench).rest},
	{"exec", (*Bench).exec},
	{"rate", (*Bench).rate},
	{"stdout", (*Bench).stdout},
	{"stdin", (*Bench).stdin},
	{"mux", (*Bench).mux},
	{"files", (*Bench).files},
	{"ports", (*Bench).ports},
	{"ping", (*Bench).ping},
	{"idle", (*Bench).idle},
	{"sleepers", (*Bench).sleepers},
	{"held", (*Bench).held},
	{"upgrade", (*Bench).upgrade},
	{"soak", (*Bench).soak},
	{"writes", (*Bench).writes},
}

// ErrSkipped is wrapped by the error of a row that cannot be measured here.
var ErrSkipped = errors.New("not measured")

// A crew are the contenders that run commands.
type crew struct {
	names []string
	run   map[string]lab.Runner
	by    map[string]*lab.Process // that do it; none: the benchmark itself
	stop  []func()
}

// crew starts everybody who can run a command. The caller ends it.
func (b *Bench) crew(ctx context.Context) (*crew, error) {
	c := newCrew()
	c.add(osExec, nil, lab.Local{})
	if err := c.addAgent(ctx, agent, b.Lab.StartAgent); err != nil {
		return nil, err
	}
	old, err := b.Lab.StartPeer(ctx, "v1")
	if err != nil {
		c.end()
		return nil, err
	}
	c.stop = append(c.stop, old.Stop)
	c.add(version1, old.Process, lab.V1{Server: old})
	if b.SSH != nil {
		c.add(openSSH, nil, b.SSH)
	}
	return c, nil
}

// starters is a crew with those whose starts of commands are compared, too.
func (b *Bench) starters(ctx context.Context) (*crew, error) {
	c, err := b.crew(ctx)
	if err != nil {
		return nil, err
	}
	c.add(session, nil, lab.Local{Setsid: true})
	if err := c.addGoServer(ctx, b.Lab); err != nil {
		c.end()
		return nil, err
	}
	return c, nil
}

func newCrew() *crew { return &crew{run: map[string]lab.Runner{}, by: map[string]*lab.Process{}} }

func (c *crew) add(name string, by *lab.Process, r lab.Runner) {
	c.names = append(c.names, name)
	c.run[name], c.by[name] = r, by
}

func (c *crew) addGoServer(ctx context.Context, l *lab.Lab) error {
	server, err := l.StartPeer(ctx, "rpc")
	if err != nil {
		return err
	}
	c.stop = append(c.stop, server.Stop)
	warm, err := lab.DialNaive(ctx, server)
	if err != nil {
		return err
	}
	c.stop = append(c.stop, func() { _ = warm.Close() })
	c.add(goServer, server.Process, warm)
	return nil
}

// addAgent starts an agent and adds a connection to it. If it fails, it leaves no
// process behind.
func (c *crew) addAgent(
	ctx context.Context, name string, start func(context.Context, ...string) (*lab.Server, error),
) error {
	server, err := start(ctx)
	if err != nil {
		c.end()
		return err
	}
	c.stop = append(c.stop, server.Stop)
	warm, err := lab.DialAgent(ctx, server)
	if err != nil {
		c.end()
		return fmt.Errorf("%w; the agent's log: %s", err, server.Log())
	}
	c.stop = append(c.stop, func() { _ = warm.Close() })
	c.add(name, server.Process, warm)
	return nil
}

// end ends them, the last first.
func (c *crew) end() {
	for len(c.stop) > 0 {
		last := len(c.stop) - 1
		c.stop[last]()
		c.stop = c.stop[:last]
	}
}

// figures makes a figure of each contender, with the agent's ratio to it.
func figures(s measure.Samples, names []string, unit string, tail bool) []report.Figure {
	var out []report.Figure
	for _, name := range names {
		all := s.All(name)
		f := report.Figure{Contender: name, Unit: unit, Samples: len(all), Median: measure.Median(all)}
		if tail {
			f.P99 = measure.P99(all)
		}
		if name != agent && len(s[agent]) > 0 {
			ratio := measure.SpreadOf(s.Ratio(agent, name, measure.Median))
			f.Ratio = &ratio
		}
		out = append(out, f)
	}
	return out
}
