//go:build linux

package client_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func TestLingerBoundsOutputAfterTheExit(t *testing.T) {
	c, _ := dial(t)
	for name, test := range map[string]struct {
		linger time.Duration
		script string
		least  int // lines
		cut    bool
	}{
		"bounded":      {300 * time.Millisecond, "(while echo line; do sleep 0.05; done) & echo line", 2, true},
		"to its end":   {-1, "(sleep 2.5; echo line) & echo line", 2, false},
		"ends by then": {time.Minute, "(sleep 0.1; echo line) & echo line", 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			cmd := c.CommandContext(patiently(t), "sh", "-c", test.script)
			cmd.Stdout, cmd.Linger = &out, test.linger
			if err := cmd.Run(); err != nil {
				t.Error(err)
			}
			if got := strings.Count(out.String(), "line\n"); got < test.least {
				t.Errorf("output %q", out.String())
			}
			if got := cmd.ProcessState.OutputCut(); got != test.cut {
				t.Errorf("cut: %v, want %v", got, test.cut)
			}
		})
	}
}

func TestTimeoutEndsALingerToTheEnd(t *testing.T) {
	c, _ := dial(t)
	cmd := c.CommandContext(patiently(t), "sh", "-c", "setsid sleep 1000 & exit 3")
	cmd.Stdout, cmd.Linger, cmd.Timeout = new(strings.Builder), -1, 500*time.Millisecond
	err := cmd.Run()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("Run = %v, state %v", err, cmd.ProcessState)
	}
}

func TestLingerIsNotAskedOfAnAgentThatIsTooOld(t *testing.T) {
	c, g := mute(t)
	g.offend(&wire.Hello{Min: 2, Max: 2, Version: "0.9", Features: []string{"execs"}})
	cmd := c.CommandContext(patiently(t), "true")
	cmd.Linger = time.Second
	wantKind(t, cmd.Run(), client.Unsupported)
}

func TestVerbatimNeedsTheFeature(t *testing.T) {
	c, a := dial(t)
	cmd := c.CommandContext(patiently(t), "cmd", "/c", "dir")
	cmd.Verbatim = true
	wantKind(t, cmd.Run(), client.Unsupported)
	if strings.Contains(a.Log.String(), "exec") {
		t.Error("the agent was asked")
	}
}
