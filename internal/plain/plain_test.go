package plain_test

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cocoonstack/cocoon-agent/internal/plain"
)

// found returns the rules that a text breaks as Markdown.
func found(t *testing.T, text string) []string {
	t.Helper()
	hits, err := plain.Check("a.md", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var rules []string
	for _, h := range hits {
		rules = append(rules, h.Rule)
	}
	return rules
}

func TestRulesFindForbiddenPhrases(t *testing.T) {
	for text, want := range map[string]string{
		"It returns nil where the command exited by itself.": "where",
		"Where that is not done, it ends.":                   "where",
		"The port is 1024, where none is given.":             "where",
		"The reader reads to the end\nwhere there is one.":   "where",
		"It skips or where it must, it fails.":               "where",
		"What reads like an end, but is none.":               "is none",
		"The files are none of ours.":                        "is none",
		"A reset is no end.":                                 "is no",
		"These were no agents.":                              "is no",
		"The log says so.":                                   "says so",
		"A socket cannot say\nso.":                           "says so",
		"It ends for want of memory.":                        "for want of",
		"64 connections, of which the oldest goes.":          "of which",
		"The key by which it is found.":                      "of which",
		"No user is to be had.":                              "to be had",
		"Fine. What comes next is thrown away.":              "what opening",
		"Who has the port is the agent.":                     "what opening",
		"Whatever it holds is kept.":                         "what opening",
		strings.Repeat("word ", plain.MaxWords) + "end.":     "long sentence",
	} {
		if got := found(t, text); !slices.Contains(got, want) {
			t.Errorf("Check(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestRulesAllowPlainPhrases(t *testing.T) {
	for _, text := range []string{
		"The directory where the socket is.",
		"It says where the time went, and this is where it ends.",
		"Nobody knows where. The package (where) is a place.",
		"There is none, and there are none.",
		"None of them is read. If there is no agent, dial fails.",
		"It is no longer than 5 bytes and was no more than a guess.",
		"It says something so that you know.",
		"The agent wants memory. Which of these is it?",
		"What is it that comes next? Nothing.",
		"It has what it needs. It is had by none.",
		"What a line.",
		strings.Repeat("word ", plain.MaxWords-1) + "end. And " + strings.Repeat("word ", plain.MaxWords-2) + "end.",
		"The limit (e.g. A " + strings.Repeat("word ", plain.MaxWords-6) + ") ends.",
	} {
		if got := found(t, text); len(got) > 0 {
			t.Errorf("Check(%q) = %q, want none", text, got)
		}
	}
}

func TestCheckSkipsCodeTablesAndHeadings(t *testing.T) {
	for _, text := range []string{
		"# Where it says so",
		"| a | where it says so |",
		"```\nwhere it says so\n```",
		"~~~text\nwhere it says so\n~~~",
		"Text.\n\n    where it says so",
		"See `where it says so`.",
		"See [this](x-says so).",
		"<!-- it says so\nsays so -->",
	} {
		if got := found(t, text); len(got) > 0 {
			t.Errorf("Check(%q) = %q, want none", text, got)
		}
	}
}

const source = `// Package p says so.
//
//	code, where it says so
//
//go:generate says so
package p

import "errors"

/* A block
that says so. */
var Err = errors.New("it says so")

type flags struct {
	A int ` + "`help:\"Fine, where it says so.\" placeholder:\"says so\"`" + `
}

func (flags) Help() string {
	return ` + "`One.\n\nTwo says so.`" + `
}

const key = "says so"

func f() { log.Msg("says so") } // says so
`

func TestCheckReadsCommentsHelpAndMessagesOfGo(t *testing.T) {
	hits, err := plain.Check("p.go", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	var lines []int
	for _, h := range hits {
		if h.Rule == "says so" {
			lines = append(lines, h.Line)
		}
	}
	if want := []int{1, 11, 12, 15, 21, 26, 26}; !slices.Equal(lines, want) {
		t.Errorf("Check finds lines %v, want %v", lines, want)
	}
	if n := len(hits) - len(lines); n != 1 {
		t.Errorf("Check finds %d other phrases, want the where of the help", n)
	}
}

func TestCheckReadsNoMessagesOfTests(t *testing.T) {
	hits, err := plain.Check("p_test.go", []byte("package p\n\nvar err = errors.New(\"says so\")\n"))
	if err != nil || len(hits) > 0 {
		t.Errorf("Check = %v, %v, want none", hits, err)
	}
}

func TestCheckAllSkipsTestdataAndHidden(t *testing.T) {
	file := &fstest.MapFile{Data: []byte("It says so.\n")}
	all, err := plain.CheckAll(fstest.MapFS{
		"a/b.md": file, "a/testdata/b.md": file, ".git/b.md": file, "bin/b.md": file, "a/b.txt": file,
	})
	if err != nil || len(all) != 1 || len(all["a/b.md"]) != 1 {
		t.Errorf("CheckAll = %v, %v, want one hit in a/b.md", all, err)
	}
}

func TestRatchet(t *testing.T) {
	allowed, err := plain.Parse("# comment\na.go\tis no\t2\nb.go\tis no\t1\n")
	if err != nil {
		t.Fatal(err)
	}
	counts := plain.Counts{{File: "a.go", Rule: "is no"}: 1, {File: "b.go", Rule: "is no"}: 2, {File: "new.go", Rule: "where"}: 1}
	want := []plain.Key{{File: "b.go", Rule: "is no"}, {File: "new.go", Rule: "where"}}
	if got := counts.Risen(allowed); !slices.Equal(got, want) {
		t.Errorf("Risen = %v, want %v", got, want)
	}
	low := counts.Lowered(allowed).String()
	if _, rows, _ := strings.Cut(low, "\n"); rows != "a.go\tis no\t1\nb.go\tis no\t1\n" {
		t.Errorf("Lowered = %q, want 1 and 1, and no new file", rows)
	}
	if again, err := plain.Parse(low); err != nil || again.String() != low {
		t.Errorf("Parse(%q) = %v, %v", low, again, err)
	}
	for _, text := range []string{"a.go is no 2", "a.go\tis no\tx", "a.go\tis no\t0"} {
		if _, err := plain.Parse(text); err == nil {
			t.Errorf("Parse(%q) succeeded, want an error", text)
		}
	}
}
