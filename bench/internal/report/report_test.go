package report_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/bench/internal/measure"
	"github.com/cocoonstack/cocoon-agent/bench/internal/report"
)

func sample() *report.Report {
	same := func(x float64) measure.Spread { return measure.Spread{Median: x, Least: x, Most: x} }
	return &report.Report{
		Agent: "v1", Date: "2020-01-02", Socket: "a Unix socket", Plan: "full",
		Rows: []*report.Row{{
			Name: "exec", Title: "an exec",
			Figures: []report.Figure{{Contender: "os/exec", Unit: "µs", Samples: 3, Median: 1234.5, P99: 2000}},
			Goals: []report.Goal{
				{What: "fast", Unit: "×", Limit: 1.08, Got: same(1.2)},
				{What: "enough", Unit: "MiB", Limit: 8, Got: same(6)},
				{What: "much", Unit: "×", Limit: 0.8, AtLeast: true, Got: same(0.88)},
				{What: "lost", Got: same(0)},
			},
			Charts: []report.Chart{{
				Name: "curve", Title: "A curve", X: report.Axis{Label: "n", Log: true}, Y: report.Axis{Label: "MB/s"},
				Lines: []report.Line{{Contender: "one", Points: [][2]float64{{1, 5}, {10, 7}}}},
			}},
		}},
	}
}

func TestMarkdownSaysByHowMuchAGoalIsMet(t *testing.T) {
	text := sample().Markdown()
	for _, want := range []string{
		"**not met**, by 11.1 %", "met, by 25 %", "met, by 10 %", "| lost   | at most 0       | 0 ", "| 1234 µs | 2000 µs |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if missed := sample().Missed(); len(missed) != 1 || missed[0].What != "fast" {
		t.Errorf("missed: %v", missed)
	}
}

func TestPastGateTakesGoalsWithAGate(t *testing.T) {
	same := func(x float64) measure.Spread { return measure.Spread{Median: x, Least: x, Most: x} }
	r := &report.Report{Rows: []*report.Row{{Goals: []report.Goal{
		{What: "time", Limit: 1, Got: same(9)},
		{What: "missed", Limit: 0.6, Got: same(1.2), Gate: 1.25},
		{What: "past", Limit: 0.6, Got: same(1.3), Gate: 1.25},
	}}}}
	if past := r.PastGate(); len(past) != 1 || past[0].What != "past" {
		t.Errorf("PastGate() = %v, want only the goal past its gate", past)
	}
}

func TestUpdateReplacesWhatIsBetweenTheMarks(t *testing.T) {
	document := filepath.Join(t.TempDir(), "doc.md")
	text := "before\n<!-- results: written by make bench-doc, not by hand -->\nold\n<!-- end of results -->\nafter\n"
	if err := os.WriteFile(document, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := sample().Update(document); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	s := string(got)
	if !strings.HasPrefix(s, "before\n") || !strings.HasSuffix(s, "\nafter\n") || strings.Contains(s, "old") ||
		strings.Count(s, "Measured on") != 1 || !strings.Contains(s, "![A curve](doc/curve.svg)") {
		t.Errorf("the document is now:\n%s", s)
	}
	svg, err := os.ReadFile(filepath.Join(filepath.Dir(document), "doc", "curve.svg"))
	if err != nil || !bytes.Contains(svg, []byte("<svg")) {
		t.Errorf("chart: %v, %d bytes", err, len(svg))
	}
}

func TestWriteFilesWritesJSONThatReadsBack(t *testing.T) {
	dir := t.TempDir()
	if err := sample().WriteFiles(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var back report.Report
	if err := json.Unmarshal(text, &back); err != nil || len(back.Rows) != 1 || back.Rows[0].Goals[0].Limit != 1.08 {
		t.Errorf("read back: %v, %+v", err, back)
	}
}
