// Package report holds what has been measured and shows it: as a table, as
// JSON, as charts, and as a part of a document.
package report

import (
	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
)

// A Report is one run of the benchmark.
type Report struct {
	Agent   string   `json:"agent"`             // version of the program under test
	Against string   `json:"against,omitempty"` // the revision that it is compared with
	Date    string   `json:"date"`
	Machine Machine  `json:"machine"`
	Socket  string   `json:"socket"` // what the contenders are reached by
	Plan    string   `json:"plan"`   // full, quick or smoke
	Rows    []*Row   `json:"rows"`
	Skipped []string `json:"skipped,omitempty"` // what was not measured, and why
}

// A Row is one thing that is measured.
type Row struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Figures []Figure `json:"figures"`
	Goals   []Goal   `json:"goals,omitempty"`
	Charts  []Chart  `json:"charts,omitempty"`
}

// A Figure is one contender's in a row.
type Figure struct {
	Contender string  `json:"contender"`
	Unit      string  `json:"unit"`
	Samples   int     `json:"samples"`
	Median    float64 `json:"median"`
	P99       float64 `json:"p99,omitempty"` // 0: not a matter of tails

	// Ratio is the agent's figure by this one, for each round.
	Ratio *measure.Spread `json:"ratio,omitempty"`
}

// A Goal is what a row is to reach.
type Goal struct {
	What    string         `json:"what"`
	Unit    string         `json:"unit"` // "×" for a ratio
	Limit   float64        `json:"limit"`
	AtLeast bool           `json:"at_least,omitempty"` // else at most
	Got     measure.Spread `json:"got"`                // over the rounds

	// Gate is the most that -gate lets pass; 0 stands for none. It is for figures that other
	// work on the machine changes little, such as CPU time.
	Gate float64 `json:"gate,omitempty"`
}

// Met says whether the median of the rounds reaches the limit.
func (g Goal) Met() bool {
	if g.AtLeast {
		return g.Got.Median >= g.Limit
	}
	return g.Got.Median <= g.Limit
}

// Margin returns the distance to the limit, which is not 0, as a part of the limit:
// above 0 the goal is met, below 0 missed.
func (g Goal) Margin() float64 {
	if g.AtLeast {
		return g.Got.Median/g.Limit - 1
	}
	return 1 - g.Got.Median/g.Limit
}

// A Chart has lines over one axis.
type Chart struct {
	Name  string `json:"name"` // of its file
	Title string `json:"title"`
	X     Axis   `json:"x"`
	Y     Axis   `json:"y"`
	Lines []Line `json:"lines"`
}

// An Axis of a chart.
type Axis struct {
	Label string    `json:"label"`
	Log   bool      `json:"log,omitempty"`
	Ticks []float64 `json:"ticks,omitempty"` // nil: chosen by the chart
}

// A Line is one contender's in a chart.
type Line struct {
	Contender string       `json:"contender"`
	Points    [][2]float64 `json:"points"`
}

// Missed returns the goals that are not met.
func (r *Report) Missed() []Goal { return r.goalsThat(func(g Goal) bool { return !g.Met() }) }

// PastGate returns the goals whose figure exceeds their gate.
func (r *Report) PastGate() []Goal {
	return r.goalsThat(func(g Goal) bool { return g.Gate > 0 && g.Got.Median > g.Gate })
}

func (r *Report) goalsThat(is func(Goal) bool) []Goal {
	var some []Goal
	for _, row := range r.Rows {
		for _, g := range row.Goals {
			if is(g) {
				some = append(some, g)
			}
		}
	}
	return some
}
