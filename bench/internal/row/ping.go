//go:build linux

package row

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/cocoonstack/cocoon-agent/bench/internal/lab"
	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
	"github.com/cocoonstack/cocoon-agent/bench/internal/report"
	"github.com/cocoonstack/cocoon-agent/client"
)

const (
	saturating = 4  // execs whose output is read as fast as it comes
	stalled    = 64 // execs whose output nobody reads

	// fillTime is how long the stalled ones have to fill their windows.
	fillTime = 2 * time.Second

	// pingGap lets the load go on between two pings.
	pingGap = 2 * time.Millisecond
)

// echo is what a ping is held against: a byte to an idle process and back, over
// a socket of its own, on the same loaded machine.
const echo = "echo by an idle process"

// ping measures round trips on a connection that carries all it can. The echo shows how
// much of that the machine's own queues for CPUs take.
func (b *Bench) ping(ctx context.Context) (*report.Row, error) {
	server, err := b.Lab.StartAgent(ctx)
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	c, err := lab.DialAgent(ctx, server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	other, err := b.Lab.StartPeer(ctx, "echo")
	if err != nil {
		return nil, err
	}
	defer other.Stop()
	nc, err := other.Dial(ctx)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	contenders := []measure.Contender{
		{Name: agent, Sample: roundTrip(c.Ping)},
		{Name: echo, Sample: roundTrip(echoed(nc))},
	}
	calm, err := measure.Alternate(ctx, measure.Plan{Rounds: 1, Samples: b.Size.Ping.Samples}, contenders)
	if err != nil {
		return nil, err
	}
	l, err := b.load(ctx, c.Client)
	if err != nil {
		return nil, err
	}
	s, err := measure.Alternate(ctx, b.Size.Ping, contenders)
	rate, endErr := l.end()
	if err := errors.Join(err, endErr); err != nil {
		return nil, err
	}
	return pingRow(calm, s, rate), nil
}

func pingRow(calm, s measure.Samples, rate float64) *report.Row {
	row := &report.Row{
		Name: "ping", Title: "ping, 4 execs saturate stdout, 64 are stalled",
		Figures: figures(s, []string{agent, echo}, "ms", true),
		Goals: []report.Goal{{
			What: "ping under load, p99", Unit: "ms", Limit: 5,
			Got: measure.SpreadOf(s.PerRound(agent, measure.P99)),
		}},
	}
	for _, f := range figures(calm, []string{agent, echo}, "ms", true) {
		f.Contender += ", without load"
		row.Figures = append(row.Figures, f)
	}
	row.Figures = append(row.Figures, report.Figure{
		Contender: "throughput of the load meanwhile", Unit: "MB/s", Samples: 1, Median: rate,
	})
	return row
}

func roundTrip(f func(context.Context) error) func(context.Context) (float64, error) {
	return func(ctx context.Context) (float64, error) {
		select {
		case <-time.After(pingGap):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		begun := time.Now()
		err := f(ctx)
		return float64(time.Since(begun)) / float64(time.Millisecond), err
	}
}

func echoed(nc net.Conn) func(context.Context) error {
	p := make([]byte, 1)
	return func(context.Context) error {
		if _, err := nc.Write(p); err != nil {
			return err
		}
		_, err := io.ReadFull(nc, p)
		return err
	}
}

// A load is what goes on while pings are sent.
type load struct {
	begun time.Time
	cmds  []*client.Cmd
	pipes []io.ReadCloser
	read  []counter // by those that saturate
	done  chan struct{}
}

// load starts it, and waits until the stalled ones are stalled.
func (b *Bench) load(ctx context.Context, c *client.Client) (*load, error) {
	l := &load{begun: time.Now(), read: make([]counter, saturating), done: make(chan struct{}, saturating)}
	for i := range stalled + saturating {
		cmd := c.CommandContext(ctx, b.Lab.Peer, "produce", "0", "65536")
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			_, endErr := l.end()
			return nil, errors.Join(err, endErr)
		}
		l.cmds, l.pipes = append(l.cmds, cmd), append(l.pipes, out)
		if i >= stalled {
			go l.take(out, &l.read[i-stalled]) // ends with the command
		}
	}
	select {
	case <-time.After(fillTime):
		return l, nil
	case <-ctx.Done():
		_, err := l.end()
		return nil, errors.Join(ctx.Err(), err)
	}
}

func (l *load) take(out io.Reader, n *counter) {
	_, _ = io.CopyBuffer(n, out, make([]byte, 256<<10))
	l.done <- struct{}{}
}

// end ends the commands, and returns how many MB/s have been read.
func (l *load) end() (float64, error) {
	took := time.Since(l.begun).Seconds()
	var err error
	for _, cmd := range l.cmds {
		err = errors.Join(err, cmd.Kill())
	}
	for range max(len(l.cmds)-stalled, 0) {
		<-l.done
	}
	for i, cmd := range l.cmds {
		_ = l.pipes[i].Close()
		_ = cmd.Wait() // killed
	}
	var sum counter
	for _, n := range l.read {
		sum += n
	}
	return float64(sum) / mb / took, err
}
