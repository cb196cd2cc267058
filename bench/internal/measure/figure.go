package measure

import (
	"math"
	"slices"
)

// Quantile returns the q-th quantile of values, 0 to 1, by the nearest rank.
// It does not change values. Without any it is NaN.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[min(max(rank, 0), len(sorted)-1)]
}

// Median is the 0.5 quantile; of an even number of values, the mean of the two
// in the middle.
func Median(values []float64) float64 {
	n := len(values)
	if n == 0 || n%2 == 1 {
		return Quantile(values, 0.5)
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// Mean is NaN without any values.
func Mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// P99 is the 0.99 quantile.
func P99(values []float64) float64 { return Quantile(values, 0.99) }

// A Spread is the median of one figure for each round, and the least and most.
type Spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
}

// SpreadOf returns the spread of a figure for each round.
func SpreadOf(perRound []float64) Spread {
	return Spread{Median(perRound), Quantile(perRound, 0), Quantile(perRound, 1)}
}

// PerRound makes a figure of each round of a contender's samples.
func (s Samples) PerRound(name string, figure func([]float64) float64) []float64 {
	var out []float64
	for _, round := range s[name] {
		out = append(out, figure(round))
	}
	return out
}

// Ratio returns, for each round, the figure of one contender by that of another.
func (s Samples) Ratio(name, by string, figure func([]float64) float64) []float64 {
	over, under := s.PerRound(name, figure), s.PerRound(by, figure)
	out := make([]float64, min(len(over), len(under)))
	for i := range out {
		out[i] = over[i] / under[i]
	}
	return out
}

// All returns a contender's samples of all rounds.
func (s Samples) All(name string) []float64 { return slices.Concat(s[name]...) }
