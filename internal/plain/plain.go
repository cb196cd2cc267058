// Package plain checks the English of this repository: of comments, help, error and
// log texts in Go, and of prose in Markdown. Its rules are a few phrases that make
// sentences hard to read; each has something to write instead.
//
// The check is a ratchet: a committed file has the number of hits of each rule in each
// file. A number may fall and may not rise, and a new file starts at zero.
package plain

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Check returns the hits in one file, in the order of lines. It returns none for files
// that are neither Go nor Markdown.
func Check(name string, source []byte) ([]Hit, error) {
	var paragraphs []*paragraph
	switch path.Ext(name) {
	case ".go":
		var err error
		if paragraphs, err = goProse(name, source); err != nil {
			return nil, err
		}
	case ".md":
		paragraphs = markdown(source)
	}
	var hits []Hit
	for _, p := range paragraphs {
		hits = append(hits, p.check()...)
	}
	slices.SortStableFunc(hits, func(a, b Hit) int { return cmp.Compare(a.Line, b.Line) })
	return hits, nil
}

// CheckAll returns the hits of each file below a directory. It skips directories whose
// names begin with a dot, and testdata and bin.
func CheckAll(root fs.FS) (map[string][]Hit, error) {
	all := make(map[string][]Hit)
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin"):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go" && path.Ext(name) != ".md":
			return nil
		}
		source, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		hits, err := Check(name, source)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if len(hits) > 0 {
			all[name] = hits
		}
		return nil
	})
	return all, err
}
