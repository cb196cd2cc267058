package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
)

// Markdown returns the report's tables.
func (r *Report) Markdown() string {
	var b strings.Builder
	against := ""
	if r.Against != "" {
		against = " against " + r.Against
	}
	fmt.Fprintf(&b, "Measured on %s with cocoon-agent %s%s over %s: %s. Plan: %s.\n\n",
		r.Date, r.Agent, against, r.Socket, r.Machine, r.Plan)
	b.WriteString(r.goals())
	b.WriteString(r.figures())
	for _, s := range r.Skipped {
		fmt.Fprintf(&b, "\nNot measured: %s.\n", s)
	}
	return b.String()
}

func (r *Report) goals() string {
	rows := [][]string{{"what", "goal", "measured", "range over rounds", "verdict"}}
	for _, row := range r.Rows {
		for _, g := range row.Goals {
			want := "at most "
			if g.AtLeast {
				want = "at least "
			}
			rows = append(rows, []string{
				g.What, want + amount(g.Limit, g.Unit), amount(g.Got.Median, g.Unit), spread(g.Got, g.Unit), g.verdict(),
			})
		}
	}
	if len(rows) == 1 {
		return ""
	}
	return table(rows) + "\n"
}

func (g Goal) verdict() string {
	switch {
	case g.Limit == 0 && g.Met():
		return "met"
	case g.Limit == 0:
		return "**not met**"
	case g.Met():
		return fmt.Sprintf("met, by %.0f %%", 100*g.Margin())
	}
	return fmt.Sprintf("**not met**, by %.1f %%", -100*g.Margin())
}

func (r *Report) figures() string {
	rows := [][]string{{"row", "contender", "median", "p99", "ours ÷ it (range)", "samples"}}
	for _, row := range r.Rows {
		title := row.Title
		for _, f := range row.Figures {
			rows = append(rows, []string{title, f.Contender, amount(f.Median, f.Unit), f.tail(), f.ratio(), strconv.Itoa(f.Samples)})
			title = ""
		}
	}
	return table(rows)
}

func (f Figure) tail() string {
	if f.P99 == 0 {
		return ""
	}
	return amount(f.P99, f.Unit)
}

func (f Figure) ratio() string {
	if f.Ratio == nil {
		return ""
	}
	return fmt.Sprintf("%s (%s)", number(f.Ratio.Median), spread(*f.Ratio, "×"))
}

func spread(s measure.Spread, unit string) string {
	if s.Least == s.Most {
		return number(s.Least)
	}
	if unit == "×" {
		unit = ""
	}
	return number(s.Least) + "–" + amount(s.Most, unit)
}

func amount(x float64, unit string) string {
	switch unit {
	case "":
		return number(x)
	case "×":
		return number(x) + " ×"
	default:
		return number(x) + " " + unit
	}
}

// number gives three digits, or as many as the whole part has.
func number(x float64) string {
	switch {
	case x == math.Trunc(x) && x < 1e6:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case x < 0.1:
		return strconv.FormatFloat(x, 'g', 2, 64)
	case x < 10:
		return strconv.FormatFloat(x, 'f', 2, 64)
	case x < 100:
		return strconv.FormatFloat(x, 'f', 1, 64)
	default:
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
}

// table is Markdown's; the columns are aligned, for those who read the text.
func table(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	var b strings.Builder
	for n, row := range rows {
		for i, cell := range row {
			b.WriteString("| " + cell + strings.Repeat(" ", widths[i]-len([]rune(cell))+1))
		}
		b.WriteString("|\n")
		if n == 0 {
			for _, width := range widths {
				b.WriteString("|" + strings.Repeat("-", width+2))
			}
			b.WriteString("|\n")
		}
	}
	return b.String()
}
