//go:build linux

package docs_test

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	flagPattern       = regexp.MustCompile(`--[a-z][a-z0-9-]*`)
	definitionPattern = regexp.MustCompile(`(?m)^ {2,6}(?:-\w, )?(--[a-z0-9-]+)`) // in a help text
)

// help returns what a command's --help prints.
func help(t *testing.T, command string) string {
	t.Helper()
	out, err := exec.Command(filepath.Join(programDir, "cocoon-agent"), command, "--help").Output()
	if err != nil {
		t.Fatalf("%s --help: %v", command, err)
	}
	return string(out)
}

func TestConfigurationNamesEveryFlagOfServe(t *testing.T) {
	text := read(t, "docs/configuration.md")
	for _, line := range definitionPattern.FindAllStringSubmatch(help(t, "serve"), -1) {
		if flag := line[1]; flag != "--help" && !regexp.MustCompile(flag+`\b`).MatchString(text) {
			t.Errorf("docs/configuration.md does not name %s", flag)
		}
	}
}

func TestConfigurationNamesNoFlagThatIsMissing(t *testing.T) {
	var all strings.Builder
	for _, command := range []string{"serve", "client", "ping", "info", "execs", "kill", "reseed"} {
		all.WriteString(help(t, command))
	}
	known := map[string]bool{}
	for _, flag := range flagPattern.FindAllString(all.String(), -1) {
		known[flag] = true
	}
	for i, line := range strings.Split(read(t, "docs/configuration.md"), "\n") {
		for _, flag := range flagPattern.FindAllString(line, -1) {
			if !known[strings.TrimSuffix(flag, "-")] && flag != "--max-" && flag != "--limit-" {
				t.Errorf("docs/configuration.md:%d: no command has the flag %s", i+1, flag)
			}
		}
	}
}
