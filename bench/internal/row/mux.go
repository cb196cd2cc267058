//go:build linux

package row

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
	"github.com/cocoonstack/cocoon-agent/bench/internal/report"
)

// roundTrips are taken for one sample, of roundTripSize bytes each way.
const (
	roundTrips    = 100
	roundTripSize = 64
)

// mux measures streams without commands: our implementation of yamux's format
// beside the library, and the same bytes without any format.
func (b *Bench) mux(ctx context.Context) (*report.Row, error) {
	links, end, err := b.links()
	defer end()
	if err != nil {
		return nil, err
	}
	var streams, trips []measure.Contender
	for _, l := range links {
		host, agent, err := l.open()
		if err != nil {
			return nil, err
		}
		go echoOn(agent) // ends with the link, or, for the socket alone, with the process
		streams = append(streams, metered(l.name, float64(b.Size.Bytes)/1e9, time.Millisecond, l.carry(b.Size.Bytes)))
		trips = append(trips, metered(l.name, roundTrips, time.Microsecond, roundTripsOn(host)))
	}
	moved, err := measure.Alternate(ctx, b.Size.Throughput, streams)
	if err != nil {
		return nil, err
	}
	returned, err := measure.Alternate(ctx, b.Size.pings(), trips)
	if err != nil {
		return nil, err
	}
	row := &report.Row{Name: "mux", Title: "streams, both ends in one process"}
	for _, m := range []metric{
		{"", "a GB in writes of 64 KiB", "ms", measure.Median},
		{bothCPU, "CPU of a GB", "ms", measure.Mean},
	} {
		row.Figures = append(row.Figures, m.of(moved, ownMux, library, unixAlone)...)
	}
	for _, m := range []metric{
		{"", "a round trip of 64 bytes", "µs", measure.Median},
		{bothCPU, "CPU of a round trip", "µs", measure.Mean},
	} {
		row.Figures = append(row.Figures, m.of(returned, ownMux, library, unixAlone)...)
	}
	return row, nil
}

// bothCPU ends the name of samples of the CPU time of both ends.
const bothCPU = ", CPU of both ends"

// metered measures work in time and CPU time, each for one of so many units.
func metered(name string, units float64, unit time.Duration, work func() error) measure.Contender {
	var cpu time.Duration
	per := func(d time.Duration) float64 { return float64(d) / float64(unit) / units }
	return measure.Contender{
		Name: name,
		Sample: func(context.Context) (float64, error) {
			before, begun := ownCPU(), time.Now()
			err := work()
			took := time.Since(begun)
			cpu = ownCPU() - before
			return per(took), err
		},
		More: func() (map[string]float64, error) { return map[string]float64{name + bothCPU: per(cpu)}, nil },
	}
}

// ownCPU is the CPU time of this process.
func ownCPU() time.Duration {
	var at unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &at) // cannot fail with this clock
	return time.Duration(at.Nano())
}

// carry has the agent's end of a new stream write, as an exec's stdout is.
func (l *link) carry(size int64) func() error {
	return func() error {
		host, agent, err := l.open()
		if err != nil {
			return err
		}
		defer host.Close()
		wrote := make(chan error, 1)
		go func() { // ends with the stream
			_, err := io.CopyBuffer(onlyWriter{agent}, zeros(size, judged), make([]byte, judged))
			wrote <- errors.Join(err, agent.Close())
		}()
		var got counter
		_, err = io.CopyBuffer(&got, host, make([]byte, 256<<10))
		return errors.Join(got.check(size, err), <-wrote)
	}
}

func roundTripsOn(host io.ReadWriter) func() error {
	p := make([]byte, roundTripSize)
	return func() error {
		for range roundTrips {
			if _, err := host.Write(p); err != nil {
				return err
			}
			if _, err := io.ReadFull(host, p); err != nil {
				return err
			}
		}
		return nil
	}
}

func echoOn(agent io.ReadWriter) {
	_, _ = io.CopyBuffer(onlyWriter{agent}, onlyReader{agent}, make([]byte, roundTripSize))
}

// onlyReader and onlyWriter have io.CopyBuffer use its buffer.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)
