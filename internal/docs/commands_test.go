//go:build linux

package docs_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// programDir has the program, cocoon-agent.
var programDir string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "docs")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", dir, root+"/cmd/cocoon-agent")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
		return 1
	}
	programDir = dir
	return m.Run()
}

// sessionTime is how long the commands of a page may take together.
const sessionTime = 2 * time.Minute

// A step is a command of a page and its output.
type step struct {
	line    int
	command string
	output  []string
}

func TestCommandsOfPagesDoWhatTheySay(t *testing.T) {
	for _, page := range pages(t) {
		var steps []step
		files := map[string]string{}
		for _, b := range blocks(page, read(t, page)) {
			if name := fileName(b); name != "" {
				files[name] = strings.Join(b.lines, "\n") + "\n"
			}
			if b.language == "console" {
				steps = append(steps, stepsOf(t, b)...)
			}
		}
		if len(steps) == 0 {
			continue
		}
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			runSteps(t, page, steps, files)
		})
	}
}

// fileName returns the name of the file that a block is, or nothing.
func fileName(b block) string {
	if len(b.lines) == 0 {
		return ""
	}
	for language, comment := range map[string]string{"go": "// ", "python": "# "} {
		name, ok := strings.CutPrefix(b.lines[0], comment)
		if ok && b.language == language && !strings.Contains(name, " ") {
			return name
		}
	}
	return ""
}

func stepsOf(t *testing.T, b block) []step {
	t.Helper()
	var steps []step
	for i, line := range b.lines {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			steps = append(steps, step{line: b.line + 1 + i, command: command})
			continue
		}
		if len(steps) == 0 {
			t.Fatalf("%s:%d: output before a command", b.page, b.line+1)
		}
		last := &steps[len(steps)-1]
		last.output = append(last.output, line)
	}
	return steps
}

// awaitAgent is run after a command that starts something in the background.
const awaitAgent = `for _ in $(seq 200); do [ -S agent.sock ] && break; sleep 0.05; done`

// noCgroups is what an agent of an ordinary user says first.
var noCgroups = regexp.MustCompile(`(?m)^{"level":"warn",.*"message":"cgroups unavailable: .*"}\n`)

func runSteps(t *testing.T, page string, steps []step, files map[string]string) {
	needs(t, page, steps)
	dir, err := os.MkdirTemp("", "docs") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	buildPrograms(t, dir, files)
	const mark = "=== "
	script := "exec 2>&1\n"
	for i, s := range steps {
		script += fmt.Sprintf("echo '%s%d'\n%s\n", mark, i, s.command)
		if strings.HasSuffix(s.command, "&") {
			script += awaitAgent + "\n"
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), sessionTime)
	defer cancel()
	sh := exec.CommandContext(ctx, "sh", "-c", script)
	sh.Dir = dir
	sh.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "COCOON_") || strings.HasPrefix(v, "AGENT_")
	}), "PATH="+programDir+":"+os.Getenv("PATH"))
	// Processes that a page starts in the background end with its session.
	sh.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	sh.Cancel = func() error { return syscall.Kill(-sh.Process.Pid, syscall.SIGKILL) }
	sh.WaitDelay = time.Second
	out, err := os.Create(filepath.Join(dir, "output")) // no pipe, which an agent would keep open
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	sh.Stdout = out
	err = sh.Run()
	_ = syscall.Kill(-sh.Process.Pid, syscall.SIGTERM)
	text, _ := os.ReadFile(out.Name())
	outputs := strings.Split(string(text), mark)[1:]
	if len(outputs) != len(steps) {
		t.Fatalf("%s: %d of %d commands ran: %v\n%s", page, len(outputs), len(steps), err, text)
	}
	for i, s := range steps {
		_, got, _ := strings.Cut(outputs[i], "\n")
		got = noCgroups.ReplaceAllString(got, "")
		if want := outputPattern(s.output); !want.MatchString(got) {
			t.Errorf("%s:%d: %s\ngot:\n%swant:\n%s", page, s.line, s.command, got, strings.Join(s.output, "\n"))
		}
	}
}

// needs skips a page whose commands need a program that is missing here.
func needs(t *testing.T, page string, steps []step) {
	t.Helper()
	for _, program := range []string{"python3"} {
		if !slices.ContainsFunc(steps, func(s step) bool { return strings.Contains(s.command, program) }) {
			continue
		}
		if _, err := exec.LookPath(program); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s: no %s here", page, program)
		}
		t.Skipf("%s: no %s here", page, program)
	}
}

// buildPrograms compiles the Go programs of a page with the client of this tree.
func buildPrograms(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name := range files {
		program, ok := strings.CutSuffix(name, ".go")
		if !ok {
			continue
		}
		build := exec.Command("go", "build", "-o", filepath.Join(dir, program), filepath.Join(dir, name))
		build.Dir = root
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("go build %s: %v\n%s", name, err, out)
		}
	}
}

// outputPattern returns what a command's output must match.
func outputPattern(lines []string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`\A`)
	for _, line := range lines {
		if line == "…" {
			b.WriteString(`(?:.*\n)*`)
			continue
		}
		b.WriteString(strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*") + `\n`)
	}
	b.WriteString(`\z`)
	return regexp.MustCompile(b.String())
}

func TestOutputPattern(t *testing.T) {
	for _, test := range []struct {
		lines []string
		text  string
		want  bool
	}{
		{nil, "", true},
		{nil, "x\n", false},
		{[]string{"a (b)"}, "a (b)\n", true},
		{[]string{"a … c"}, "a b c\n", true},
		{[]string{"a … c"}, "a b\nc\n", false},
		{[]string{"a", "…", "c"}, "a\nb\nb\nc\n", true},
	} {
		if got := outputPattern(test.lines).MatchString(test.text); got != test.want {
			t.Errorf("outputPattern(%q) matches %q: %v, want %v", test.lines, test.text, got, test.want)
		}
	}
}
