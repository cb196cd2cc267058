package clidoc_test

import (
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/clidoc"
)

func TestMarkdown(t *testing.T) {
	target := clidoc.Flag{Name: "target", Value: "URL", Env: "A_TARGET", Help: "Agent: unix:///PATH, or tcp:*."}
	got := clidoc.Markdown(clidoc.Program{
		Name: "p", Intro: "Intro.",
		Commands: []clidoc.Command{
			{
				Name: "run", Usage: "p run [flags]", Help: "Run a|b.", Detail: "Type ~. to stop.\nUse --target.\n\n  cocoon-agent run\n   x",
				Args:  []clidoc.Argument{{Name: "<what>", Help: "What to run."}},
				Flags: []clidoc.Flag{target, {Short: "n", Name: "count", Value: "N", Default: "1", Help: "Maximum count. (5)"}},
			},
			{Name: "list", Flags: []clidoc.Flag{target, {Name: "mode", Value: "M", Help: "Mode *. Default: all."}}},
			{Name: "kill", Flags: []clidoc.Flag{target, {Name: "wait", Value: "T", Default: "2s", Help: "Time limit (of each)."}}},
		},
		Variables: []clidoc.Variable{{Name: "TERM", Command: "run", Help: "Terminal type."}},
	})
	for _, want := range []string{
		"# Command line\n\nIntro.\n",
		"| [`run`](#p-run) | Run a\\|b. |\n",
		"## p run\n\nRun a\\|b.\n\n```text\np run [flags]\n```\n\nType `~.` to stop.\nUse `--target`.\n\n```sh\ncocoon-agent run\n x\n```\n\n- `<what>`: What to run.\n",
		"| `-n`, `--count=N` | `5` | Maximum count. |\n\nSee also the [common flags]",
		"| `--mode=M` | `all` | Mode \\*. |\n",
		"| `--wait=T` | `2s` | Time limit (of each). |\n",
		"## Common flags\n",
		"| `--target=URL` |  | Agent: `unix:///PATH`, or `tcp:*`. Environment: `A_TARGET`. |\n",
		"| `A_TARGET` | run, list, kill | Value of `--target`, unless that is given. |\n| `TERM` | run | Terminal type. |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("Markdown lacks %q", want)
		}
	}
	if n := strings.Count(got, "--target=URL"); n != 1 {
		t.Errorf("Markdown has --target %d times, want once", n)
	}
	if t.Failed() {
		t.Log(got)
	}
}

func TestManualPages(t *testing.T) {
	target := clidoc.Flag{Name: "target", Value: "URL", Env: "A_TARGET", Help: "Agent: unix:///PATH."}
	pages := clidoc.Pages(clidoc.Program{
		Name: "p",
		Commands: []clidoc.Command{
			{
				Name: "run", Usage: "p run [flags]", Help: "Run it.", Detail: ".hidden is a file.\nType ~.\n\n  p run -- a\\b\n   x",
				Args:  []clidoc.Argument{{Name: "<what>", Help: "'What' to run."}},
				Flags: []clidoc.Flag{target, {Short: "n", Name: "count", Value: "N", Default: "1", Help: "Count."}, {Name: "all", Help: "All. (5)", Default: "5"}},
				Notes: []clidoc.Note{{Title: "The unit", Text: "It runs.\n\n  /etc/p-run"}},
			},
			{Name: "list", Help: "List them.", Flags: []clidoc.Flag{target}},
		},
		Variables: []clidoc.Variable{{Name: "TERM", Command: "run", Help: "Terminal type."}},
	}, "do things\n\nThings are done.", clidoc.Edition{Date: "2026-01-02", Version: "p 1.0", Home: "Home."})
	if len(pages) != 3 || pages[0].Name != "p.1" || pages[1].Name != "p-run.1" || pages[2].Name != "p-list.1" {
		t.Fatalf("pages %v", pages)
	}
	for i, all := range [][]string{
		{
			".TH P 1 2026-01-02 \"p 1.0\"\n.SH NAME\np \\- do things\n", ".SH DESCRIPTION\nThings are done.\n.SH COMMANDS\n.TP\n.BR p\\-run (1)\nRun it.\n",
			".TP\n.B A_TARGET\nValue of \\-\\-target, unless that is given. (run, list)\n", ".B TERM\nTerminal type. (run)\n", ".BR p\\-list (1),\n.BR p\\-run (1)\n.PP\nHome.\n",
		},
		{
			".TH P\\-RUN 1", "p\\-run \\- Run it\n", ".PP\n\\&.hidden is a file.\nType \\(ti.\n", ".nf\np run \\-\\- a\\eb\n x\n.fi\n",
			".B <what>\n\\&'What' to run.\n", ".B \\-\\-target=URL\nAgent: unix:///PATH.\nEnvironment: A_TARGET.\n",
			".BR \\-n , \" \" \\-\\-count=N\nCount.\nDefault: 1.\n", ".B \\-\\-all\nAll. (5)\n.SH THE UNIT\nIt runs.\n.PP\n.RS 4\n.nf\n/etc/p\\-run\n.fi\n.RE\n.SH SEE ALSO\n", ".BR p (1),\n.BR p\\-list (1)\n",
		},
	} {
		for _, want := range all {
			if !strings.Contains(pages[i].Text, want) {
				t.Errorf("%s lacks %q:\n%s", pages[i].Name, want, pages[i].Text)
			}
		}
	}
}

// The shells themselves are asked by packaging/completions_test.sh.
func TestCompletions(t *testing.T) {
	files := clidoc.Completions(clidoc.Program{
		Name: "a-p",
		Commands: []clidoc.Command{{
			Name: "run", Aliases: []string{"exec"}, Help: "Run it. Now.", Guest: true,
			Flags: []clidoc.Flag{
				{Short: "e", Name: "env", Value: "K", Help: "Set [one]: it's."},
				{Name: "mode", Value: "M", Values: "x y"},
				{Name: "deny", Value: "V", Values: "a b", List: true},
				{Name: "file", Value: "FILE"},
				{Name: "wait", Negatable: true},
			},
		}},
	})
	for name, all := range map[string][]string{
		"a-p.bash": {
			`"run --env" | "run -e" | "exec --env" | "exec -e"`, `compgen -W "run exec --help"`, `"run --file" | "exec --file") compopt -o default`,
			`"--help --env= -e --mode= --deny= --file= --wait --no-wait"`, "complete -F _a_p a-p\n",
		},
		"_a-p": {
			"#compdef a-p\n", "'exec:Run it'", `'*--env=[Set \[one\]\: it'\''s]:K: '`, "'*-e+[", "'*--mode=[]:M:(x y)'",
			"'*--deny=[]:V:_sequence compadd - a b'", "'*--file=[]:FILE:_files'", "'*--no-wait[]'", "'*:file:_files'",
		},
		"a-p.fish": {
			"case exec\n            set command run\n", "case 'run -e'\n                set skip yes", "-l env -s e -x -d 'Set [one]: it\\'s'",
			"-l mode -x -a 'x y'", "-l file -r -F", "-l no-wait",
		},
	} {
		for _, want := range all {
			if !strings.Contains(files[name], want) {
				t.Errorf("%s lacks %q:\n%s", name, want, files[name])
			}
		}
	}
	if len(files) != 3 {
		t.Errorf("%d files", len(files))
	}
}
