package docs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	linkPattern = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	codePattern = regexp.MustCompile("`[^`]*`")
)

// Links to other sites are not followed: a test must not depend on them.
func TestLinksResolve(t *testing.T) {
	all := pages(t)
	anchorsOf := map[string]map[string]bool{}
	for _, page := range all {
		anchorsOf[page] = anchors(read(t, page))
	}
	for _, page := range all {
		for i, line := range prose(read(t, page)) {
			for _, link := range linkPattern.FindAllStringSubmatch(codePattern.ReplaceAllString(line, ""), -1) {
				path, anchor, _ := strings.Cut(link[1], "#")
				if strings.Contains(path, "://") {
					continue
				}
				to := page
				if path != "" {
					to = filepath.Join(filepath.Dir(page), path)
				}
				if _, err := os.Stat(filepath.Join(root, to)); err != nil {
					t.Errorf("%s:%d: link to %s: no such file", page, i+1, link[1])
				} else if anchor != "" && !anchorsOf[to][anchor] {
					t.Errorf("%s:%d: link to %s: no such heading", page, i+1, link[1])
				}
			}
		}
	}
}

// anchors returns the names that GitHub gives to a page's headings.
func anchors(text string) map[string]bool {
	names := map[string]bool{}
	for _, line := range prose(text) {
		heading := strings.TrimLeft(line, "#")
		if heading == line || !strings.HasPrefix(heading, " ") {
			continue
		}
		name := slug(heading[1:])
		unique := name
		for n := 1; names[unique]; n++ {
			unique = fmt.Sprintf("%s-%d", name, n)
		}
		names[unique] = true
	}
	return names
}

// slug keeps letters, digits, hyphens and underscores, and makes hyphens of spaces.
func slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

func TestSlug(t *testing.T) {
	for heading, want := range map[string]string{
		"10. What is allowed":       "10-what-is-allowed",
		"`serve`: its flags, again": "serve-its-flags-again",
	} {
		if got := slug(heading); got != want {
			t.Errorf("slug(%q) = %q, want %q", heading, got, want)
		}
	}
}

// .ci/run runs what the README names as the command that runs the tests.
func TestREADMENamesTheTestCommand(t *testing.T) {
	const command = "make test"
	for _, file := range []string{"README.md", ".ci/run"} {
		if !regexp.MustCompile(`(?m)^ *` + command + `\b`).MatchString(read(t, file)) {
			t.Errorf("%s has no line that begins with %q", file, command)
		}
	}
}
