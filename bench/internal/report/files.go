package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// WriteFiles writes results.json, results.md and the charts into dir.
func (r *Report) WriteFiles(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "results.json"), append(text, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "results.md"), []byte(r.Markdown()), 0o644),
		r.writeCharts(dir),
	)
}

func (r *Report) writeCharts(dir string) error {
	for _, row := range r.Rows {
		for _, c := range row.Charts {
			svg, err := c.SVG()
			if err != nil {
				return fmt.Errorf("chart %s: %w", c.Name, err)
			}
			if err := os.WriteFile(filepath.Join(dir, c.Name+".svg"), svg, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// The program replaces the text between these lines of a document.
const (
	beginMark = "<!-- results: written by make bench-doc, not by hand -->"
	endMark   = "<!-- end of results -->"
)

// Update puts the report into a document, between its two marks, and the charts
// into the directory beside it that has the document's name.
func (r *Report) Update(document string) error {
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(text, []byte(beginMark))
	_, after, ok2 := bytes.Cut(rest, []byte(endMark))
	if !ok || !ok2 {
		return fmt.Errorf("%s has no lines %q and %q", document, beginMark, endMark)
	}
	directory := strings.TrimSuffix(document, filepath.Ext(document))
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	if err := r.writeCharts(directory); err != nil {
		return err
	}
	whole := fmt.Sprintf("%s%s\n\n%s\n%s\n%s%s", before, beginMark, r.Markdown(), r.pictures(filepath.Base(directory)), endMark, after)
	return os.WriteFile(document, []byte(whole), 0o644)
}

// pictures refers to the charts.
func (r *Report) pictures(directory string) string {
	var b strings.Builder
	for _, row := range r.Rows {
		for _, c := range row.Charts {
			fmt.Fprintf(&b, "![%s](%s/%s.svg)\n\n", c.Title, directory, c.Name)
		}
	}
	return b.String()
}
