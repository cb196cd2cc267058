//go:build linux

package row

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/cocoonstack/cocoon-agent/bench/internal/lab"
	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
	"github.com/cocoonstack/cocoon-agent/bench/internal/plain"
	"github.com/cocoonstack/cocoon-agent/bench/internal/report"
)

// The contenders of the row ports.
const (
	direct     = "the service itself, its Unix socket"
	forward    = "cocoon-agent forward"
	sshForward = "ssh -L, aes128-gcm"
)

// Suffixes of the names of samples.
const (
	newConns  = ", new connections"
	keepAlive = ", round trips"
	download  = ", download"
)

// connsAtOnce is how many new connections are made at the same time.
const connsAtOnce = 8

// shortAnswer is the size of the answers that are not a download, in bytes.
const shortAnswer = 64

// ports measures connections to a service of the guest that answers questions.
func (b *Bench) ports(ctx context.Context) (*report.Row, error) {
	if b.Lab.Vsock {
		return nil, fmt.Errorf("%w: forwarded ports: over Unix sockets only", ErrSkipped)
	}
	service, err := b.Lab.StartPeer(ctx, "answer")
	if err != nil {
		return nil, err
	}
	defer service.Stop()
	server, err := b.Lab.StartAgent(ctx)
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	ours, err := b.Lab.StartForward(ctx, server, service)
	if err != nil {
		return nil, err
	}
	defer ours.Stop()
	names := []string{forward, direct}
	contenders := append(b.callers(forward, dialTo(ours)), b.callers(direct, service.Dial)...)
	if b.SSH != nil {
		theirs, err := b.SSH.StartForward(ctx, b.Lab, service)
		if err != nil {
			return nil, err
		}
		defer theirs.Stop()
		names = append(names, sshForward)
		contenders = append(contenders, b.callers(sshForward, dialTo(theirs))...)
	}
	s, err := measure.Alternate(ctx, b.Size.Throughput, contenders)
	if err != nil {
		return nil, err
	}
	return portsRow(s, names), nil
}

type dialFunc func(context.Context) (net.Conn, error)

func dialTo(f *lab.Forward) dialFunc {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", f.Address)
	}
}

// callers are the contenders for one way to the service.
func (b *Bench) callers(name string, dial dialFunc) []measure.Contender {
	n := max(b.Size.RateBatch, connsAtOnce)
	return []measure.Contender{
		{Name: name + newConns, Sample: func(ctx context.Context) (float64, error) {
			begun := time.Now()
			err := many(connsAtOnce, n, func(int) error { return ask(ctx, dial, 1, shortAnswer) })
			return float64(n) / time.Since(begun).Seconds(), err
		}},
		{Name: name + keepAlive, Sample: func(ctx context.Context) (float64, error) {
			begun := time.Now()
			err := ask(ctx, dial, 4*n, shortAnswer)
			return float64(4*n) / time.Since(begun).Seconds(), err
		}},
		{Name: name + download, Sample: perSecond(b.Size.Bytes/2, func(ctx context.Context) error {
			return ask(ctx, dial, 1, b.Size.Bytes/2)
		})},
	}
}

// ask makes a connection for so many questions, with an answer of so many bytes to each.
func ask(ctx context.Context, dial dialFunc, questions int, answer int64) error {
	nc, err := dial(ctx)
	if err != nil {
		return err
	}
	defer nc.Close()
	for range questions {
		if err := plain.Ask(nc, answer); err != nil {
			return err
		}
	}
	return nil
}

func portsRow(s measure.Samples, names []string) *report.Row {
	row := &report.Row{Name: "ports", Title: "connections to a service of the guest"}
	for _, what := range []struct {
		name, unit string
		limit      float64
	}{{newConns, "/s", 1}, {keepAlive, "/s", 1.3}, {download, "MB/s", 2}} {
		for _, name := range names {
			all := s.All(name + what.name)
			f := report.Figure{Contender: name + what.name, Unit: what.unit, Samples: len(all), Median: measure.Median(all)}
			if name != forward {
				ratio := measure.SpreadOf(s.Ratio(forward+what.name, name+what.name, measure.Median))
				f.Ratio = &ratio
			}
			if name == sshForward {
				row.Goals = append(row.Goals, report.Goal{
					What: "forward ÷ ssh -L" + what.name, Unit: "×", Limit: what.limit, AtLeast: true, Got: *f.Ratio,
				})
			}
			row.Figures = append(row.Figures, f)
		}
	}
	return row
}
