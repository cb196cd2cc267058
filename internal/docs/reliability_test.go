package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const reliability = "docs/reliability.md"

var (
	namedTest    = regexp.MustCompile(`^([\w-]+)\.((?:Test|Fuzz)\w+)$`)
	namedCommand = regexp.MustCompile("^`(make [a-z0-9-]+)`$")
	nightlyPart  = regexp.MustCompile(`\.ci/nightly (\w+)`)
)

// Each row of the tables names its tests and what runs them. A test that is renamed is
// renamed there, too.
func TestReliabilityNamesTestsAndWhatRunsThem(t *testing.T) {
	all, ci := testsOfTheTree(t), readScripts(t)
	rows := rowsOfFaults(t)
	if len(rows) < 100 {
		t.Fatalf("%s has %d rows of faults, want 100 or more", reliability, len(rows))
	}
	for _, row := range rows {
		var runners []string
		for name := range strings.SplitSeq(row.tests, ", ") {
			runner := ci.runnerOf(t, row, name, all)
			if !slices.Contains(runners, runner) {
				runners = append(runners, runner)
			}
		}
		slices.Sort(runners)
		if want := strings.Join(runners, ", "); row.runBy != want {
			t.Errorf("%s:%d: run by %q, want %q", reliability, row.line, row.runBy, want)
		}
	}
}

// A faultRow is a row of a table that has a fault, its tests and what runs them.
type faultRow struct {
	line         int
	tests, runBy string
}

func rowsOfFaults(t *testing.T) []faultRow {
	t.Helper()
	var rows []faultRow
	inside := false
	for i, line := range strings.Split(read(t, reliability), "\n") {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for j := range cells {
			cells[j] = strings.TrimSpace(cells[j])
		}
		last := len(cells) - 1
		switch {
		case !strings.HasPrefix(line, "|"):
			inside = false
		case cells[last] == "run by":
			inside = true
		case !inside || strings.HasPrefix(cells[0], "---"):
		case len(cells) != 5:
			t.Errorf("%s:%d: %d columns, want 5", reliability, i+1, len(cells))
		default:
			rows = append(rows, faultRow{i + 1, cells[last-1], cells[last]})
		}
	}
	return rows
}

// A testFunc is a test or a fuzz target of the tree.
type testFunc struct {
	dir  string // from the root
	e2e  bool   // its file has the build tag e2e
	part string // of .ci/nightly, if a skip of it names one
}

// testsOfTheTree returns the tests by "DIRECTORY.Test", with the last part of the directory.
func testsOfTheTree(t *testing.T) map[string]testFunc {
	t.Helper()
	all := map[string]testFunc{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{"bin", "dist", ".git", "testdata"}, d.Name()):
			return filepath.SkipDir
		case d.IsDir():
			testsOf(t, name, all)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// testsOf adds the tests of one directory.
func testsOf(t *testing.T, dir string, all map[string]testFunc) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	bodies, tagged := map[string]string{}, map[string]bool{}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, file, source, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		e2e := strings.HasPrefix(string(source), "//go:build e2e")
		for _, decl := range parsed.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Body != nil {
				bodies[f.Name.Name] = string(source[set.Position(f.Body.Pos()).Offset:set.Position(f.Body.End()).Offset])
				tagged[f.Name.Name] = e2e
			}
		}
	}
	from, err := filepath.Rel(root, dir)
	if err != nil {
		t.Fatal(err)
	}
	from = filepath.ToSlash(from)
	for name := range bodies {
		if strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz") {
			all[path.Base(from)+"."+name] = testFunc{from, tagged[name], partOf(name, bodies, map[string]bool{})}
		}
	}
}

var identifier = regexp.MustCompile(`\b[A-Za-z]\w*\(`)

// partOf returns the part of .ci/nightly that a function, or one that it calls, names when
// it skips.
func partOf(name string, bodies map[string]string, seen map[string]bool) string {
	body, ok := bodies[name]
	if !ok || seen[name] {
		return ""
	}
	seen[name] = true
	if part := nightlyPart.FindStringSubmatch(body); part != nil {
		return part[1]
	}
	for _, call := range identifier.FindAllString(body, -1) {
		if part := partOf(strings.TrimSuffix(call, "("), bodies, seen); part != "" {
			return part
		}
	}
	return ""
}

// scripts are the commands of .ci/run, and of each part of .ci/nightly.
type scripts struct {
	run     string
	nightly map[string]string
	e2e     string // e2e/run.sh, which "make e2e" runs
}

var function = regexp.MustCompile(`(?s)\n(\w+)\(\) \{\n(.*?)\n\}`)

func readScripts(t *testing.T) scripts {
	t.Helper()
	s := scripts{run: read(t, ".ci/run"), nightly: map[string]string{}, e2e: read(t, "e2e/run.sh")}
	for _, part := range function.FindAllStringSubmatch(read(t, ".ci/nightly"), -1) {
		s.nightly[part[1]] = part[2]
	}
	return s
}

// runnerOf returns "CI" or "nightly PART" for a test or a command that a row names.
func (s scripts) runnerOf(t *testing.T, row faultRow, name string, all map[string]testFunc) string {
	t.Helper()
	if command := namedCommand.FindStringSubmatch(name); command != nil {
		return s.runnerOfCommand(t, row, command[1])
	}
	test, ok := all[name]
	if !ok || !namedTest.MatchString(name) {
		t.Errorf("%s:%d: %q is not a test of the tree", reliability, row.line, name)
		return ""
	}
	if test.part != "" {
		if _, ok := s.nightly[test.part]; !ok {
			t.Errorf("%s skips for .ci/nightly %s, which does not exist", name, test.part)
		}
		return "nightly " + test.part
	}
	return s.runnerOfCommand(t, row, s.commandOf(test))
}

// commandOf returns the command that tests a directory.
func (s scripts) commandOf(test testFunc) string {
	for dir, command := range map[string]string{ // modules of their own
		"kubelet": "make test-kubelet", "client/poolmetrics": "make test-poolmetrics",
		"e2e/instruments": "make test-instruments", "e2e/metrics": "make test-metrics",
	} {
		if test.dir == dir || strings.HasPrefix(test.dir, dir+"/") {
			return command
		}
	}
	switch {
	case !test.e2e:
		return "make test"
	case regexp.MustCompile(`(?m)^"\$go" test .*\./` + test.dir + `$`).MatchString(s.e2e):
		return "make e2e"
	default:
		return test.dir + "/run.sh"
	}
}

func (s scripts) runnerOfCommand(t *testing.T, row faultRow, command string) string {
	t.Helper()
	called := regexp.MustCompile(`(?m)^\s*(?:[A-Z0-9_]+=\S+ )*` + regexp.QuoteMeta(command) + `(?:[ ,]|$)`)
	if called.MatchString(s.run) {
		return "CI"
	}
	for part, text := range s.nightly {
		if called.MatchString(text) {
			return "nightly " + part
		}
	}
	t.Errorf("%s:%d: neither .ci/run nor .ci/nightly runs %q", reliability, row.line, command)
	return ""
}

func TestPartOfFollowsCalls(t *testing.T) {
	bodies := map[string]string{
		"TestA": `{ boot(t) }`, "boot": `{ t.Skip("see .ci/nightly guests"); boot(t) }`, "TestB": `{ run(t) }`,
	}
	for name, want := range map[string]string{"TestA": "guests", "TestB": ""} {
		if got := partOf(name, bodies, map[string]bool{}); got != want {
			t.Errorf("partOf(%q) = %q, want %q", name, got, want)
		}
	}
}
