// Package docs_test holds the documentation to what the program does: blocks of
// commands are run, programs are compiled and run, links and flags exist.
//
// Each fenced block of the language "console" in a page is run. A line with "$ " in
// front is a command for sh. The lines after it are its output, standard error
// included. "…" stands for any text in a line, and alone on a line for any lines. All
// blocks of a page are one session, in a directory of its own, with the program in
// PATH. A block of Go or Python whose first line is a comment with a file name is put
// there beforehand; hello.go is built, too, as hello.
package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the repository's, from this package's directory.
const root = "../.."

// pages returns the Markdown files of the repository, as paths from its root.
func pages(t *testing.T) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{"bin", "dist", ".git"}, d.Name()):
			return filepath.SkipDir
		case !d.IsDir() && strings.HasSuffix(path, ".md"):
			page, err := filepath.Rel(root, path)
			found = append(found, page)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func read(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A block is a fenced block of a page.
type block struct {
	page     string
	line     int // of the opening fence
	language string
	lines    []string
}

// blocks returns the fenced blocks of a page, in order.
func blocks(page, text string) []block {
	var all []block
	var open *block
	for i, line := range strings.Split(text, "\n") {
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && open == nil:
			open = &block{page: page, line: i + 1, language: language}
		case fence:
			all = append(all, *open)
			open = nil
		case open != nil:
			open.lines = append(open.lines, line)
		}
	}
	return all
}

// prose returns a page's lines, with those of code emptied.
func prose(text string) []string {
	lines := strings.Split(text, "\n")
	inside := false
	for i, line := range lines {
		fence := strings.HasPrefix(line, "```")
		if fence || inside || strings.HasPrefix(line, "    ") {
			lines[i] = ""
		}
		if fence {
			inside = !inside
		}
	}
	return lines
}
