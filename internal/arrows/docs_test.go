package arrows_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	packageRow = regexp.MustCompile("^\\| `([a-z0-9/-]+)` \\|.*\\|\\s*([^|]*?)\\s*\\|$")
	codeSpan   = regexp.MustCompile("`([^`]+)`")
)

// The table of packages has a row for each package that has code, with what it imports.
func TestArchitectureTableMatchesImports(t *testing.T) {
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "| package | owns | may import |")
	if !ok {
		t.Fatal("docs/architecture.md has no table of packages")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	rows := make(map[string]string)
	for line := range strings.Lines(table) {
		if row := packageRow.FindStringSubmatch(strings.TrimSpace(line)); row != nil {
			rows[row[1]] = row[2]
		}
	}
	for _, line := range list(t, "-f", `{{if .GoFiles}}{{.ImportPath}}={{join .Imports ","}}{{end}}`, module+"...") {
		from, imports, _ := strings.Cut(strings.TrimPrefix(line, module), "=")
		may, ok := rows[from]
		if strings.HasPrefix(from, "e2e/") || from == "internal/plain/cmd" {
			continue
		}
		if !ok {
			t.Errorf("docs/architecture.md has no row of %s", from)
		}
		if may == "everything" {
			continue
		}
		var listed []string
		for _, name := range codeSpan.FindAllStringSubmatch(may, -1) {
			listed = append(listed, name[1])
		}
		for dep := range strings.SplitSeq(imports, ",") {
			own, ok := strings.CutPrefix(dep, module)
			if short := strings.TrimPrefix(own, "internal/"); ok && !slices.Contains(listed, short) {
				t.Errorf("%s imports %s, and its row of docs/architecture.md does not list it", from, short)
			}
		}
	}
}
