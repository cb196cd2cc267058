//go:build linux

package row

import (
	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
	"github.com/cocoonstack/cocoon-agent/bench/internal/report"
)

// A metric is one of several that are measured of each contender.
type metric struct {
	suffix string // of the samples' names, after the contender's
	what   string
	unit   string
	figure func([]float64) float64 // of a round
}

// of makes a figure of each contender, with the first one's ratio to it.
func (m metric) of(s measure.Samples, first string, others ...string) []report.Figure {
	out := []report.Figure{m.one(s, first)}
	for _, name := range others {
		f := m.one(s, name)
		ratio := measure.SpreadOf(s.Ratio(first+m.suffix, name+m.suffix, m.figure))
		f.Ratio = &ratio
		out = append(out, f)
	}
	return out
}

func (m metric) one(s measure.Samples, name string) report.Figure {
	return report.Figure{
		Contender: m.what + ", " + name, Unit: m.unit, Samples: len(s.All(name + m.suffix)),
		Median: measure.Median(s.PerRound(name+m.suffix, m.figure)),
	}
}
