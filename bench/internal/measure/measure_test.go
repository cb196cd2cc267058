package measure_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
)

func TestAlternateSamplesEachContenderOncePerStep(t *testing.T) {
	var order []string
	contender := func(name string, every int) measure.Contender {
		return measure.Contender{Name: name, Every: every, Sample: func(context.Context) (float64, error) {
			order = append(order, name)
			return float64(len(order)), nil
		}}
	}
	got, err := measure.Alternate(t.Context(), measure.Plan{Warm: 1, Rounds: 2, Samples: 4},
		[]measure.Contender{contender("a", 0), contender("b", 1), contender("slow", 2)})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"a": 4, "b": 4, "slow": 2} {
		if len(got[name]) != 2 || len(got[name][0]) != want || len(got[name][1]) != want {
			t.Errorf("%s: %v, want 2 rounds of %d samples", name, got[name], want)
		}
	}
	if warm := order[:3]; !slices.Contains(warm, "a") || !slices.Contains(warm, "b") || !slices.Contains(warm, "slow") {
		t.Errorf("a step of %v, want each once", warm)
	}
}

func TestAlternateKeepsFurtherFigures(t *testing.T) {
	n := 0.0
	got, err := measure.Alternate(t.Context(), measure.Plan{Warm: 1, Rounds: 2, Samples: 2}, []measure.Contender{{
		Name:   "a",
		Sample: func(context.Context) (float64, error) { n++; return n, nil },
		More:   func() (map[string]float64, error) { return map[string]float64{"b": -n}, nil },
	}})
	if err != nil {
		t.Fatal(err)
	}
	if b := got["b"]; len(b) != 2 || !slices.Equal(b[0], []float64{-2, -3}) || !slices.Equal(b[1], []float64{-4, -5}) {
		t.Errorf("further figures %v, want [[-2 -3] [-4 -5]]", b)
	}
}

func TestAlternateStopsAtTheFirstError(t *testing.T) {
	broken := errors.New("broken")
	_, err := measure.Alternate(t.Context(), measure.Plan{Rounds: 1, Samples: 5}, []measure.Contender{
		{Name: "a", Sample: func(context.Context) (float64, error) { return 0, broken }},
	})
	if !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

func TestFiguresOfKnownSamples(t *testing.T) {
	var hundred []float64
	for i := range 100 {
		hundred = append(hundred, float64(100-i))
	}
	if m, p := measure.Median(hundred), measure.P99(hundred); m != 50.5 || p != 99 {
		t.Errorf("median %v, p99 %v of 1 to 100", m, p)
	}
	if m := measure.Mean([]float64{1, 2, 6}); m != 3 {
		t.Errorf("mean %v of 1, 2 and 6", m)
	}
	s := measure.Samples{"a": {{2, 4, 6}, {8}}, "b": {{2}, {16}}}
	if got := s.Ratio("a", "b", measure.Median); !slices.Equal(got, []float64{2, 0.5}) {
		t.Errorf("ratios %v", got)
	}
	if got := measure.SpreadOf([]float64{3, 1, 2}); got != (measure.Spread{Median: 2, Least: 1, Most: 3}) {
		t.Errorf("spread %v", got)
	}
}
