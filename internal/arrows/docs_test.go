package arrows_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Each row of docs/reliability.md names a test; one that is renamed is named anew.
func TestReliabilityNamesTestsThatExist(t *testing.T) {
	const root = "../.."
	text, err := os.ReadFile(root + "/docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, "_test.go") {
			var source []byte
			source, err = os.ReadFile(path)
			tests.Write(source)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`\.((?:Test|Fuzz)\w+)`).FindAllStringSubmatch(string(text), -1)
	if len(named) == 0 {
		t.Fatal("no tests are named")
	}
	for _, name := range named {
		if !strings.Contains(tests.String(), "func "+name[1]+"(") {
			t.Errorf("%s is named, and is not there", name[1])
		}
	}
}
