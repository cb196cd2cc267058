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
