package docs_test

import (
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

var (
	namedFiles = regexp.MustCompile("`((?:client|cmd|docs|internal|testdata|packaging)/[\\w/.-]*\\w)/?`((?:, `[\\w.-]+\\.go`)*)")
	namedName  = regexp.MustCompile("`([\\w.-]+)`")
	testName   = regexp.MustCompile(`\bTest[A-Z]\w+`)
)

// Source lines name files from the root, and more files of the same directory by their names.
func TestArchitectureNamesFilesThatExist(t *testing.T) {
	for i, line := range strings.Split(read(t, "docs/architecture.md"), "\n") {
		for _, match := range namedFiles.FindAllStringSubmatch(line, -1) {
			files := []string{match[1]}
			for _, more := range namedName.FindAllStringSubmatch(match[2], -1) {
				files = append(files, path.Join(path.Dir(match[1]), more[1]))
			}
			for _, file := range files {
				if _, err := os.Stat(root + "/" + file); err != nil {
					t.Errorf("docs/architecture.md:%d: %s does not exist", i+1, file)
				}
			}
		}
	}
}

func TestArchitectureNamesTestsThatExist(t *testing.T) {
	names := map[string]bool{}
	for name := range testsOfTheTree(t) {
		_, test, _ := strings.Cut(name, ".")
		names[test] = true
	}
	for i, line := range strings.Split(read(t, "docs/architecture.md"), "\n") {
		for _, test := range testName.FindAllString(line, -1) {
			if !names[test] {
				t.Errorf("docs/architecture.md:%d: %s is not a test of the tree", i+1, test)
			}
		}
	}
}
