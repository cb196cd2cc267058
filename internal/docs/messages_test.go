package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Messages that no command of a page can cause stand in blocks of the language
// "text", one in a line, with "…" for what varies.
func TestTroubleshootingQuotesRealMessages(t *testing.T) {
	const page = "docs/troubleshooting.md"
	source := programSource(t)
	for _, b := range blocks(page, read(t, page)) {
		if b.language != "text" {
			continue
		}
		for i, line := range b.lines {
			for part := range strings.SplitSeq(strings.TrimPrefix(line, "cocoon-agent: "), "…") {
				if !strings.Contains(source, strings.TrimSpace(part)) {
					t.Errorf("%s:%d: the program does not say %q", page, b.line+1+i, part)
				}
			}
		}
	}
}

var joinPattern = regexp.MustCompile(`" \+\n\s*"`)

// programSource returns the source of the program, without its tests.
func programSource(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	for _, dir := range []string{"client", "cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
				var text []byte
				text, err = os.ReadFile(path)
				all.Write(text)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	text := joinPattern.ReplaceAllString(all.String(), "") // literals that were split into lines
	return strings.ReplaceAll(text, `\"`, `"`)
}
