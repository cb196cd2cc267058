//go:build linux

package kubelet_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"k8s.io/utils/exec"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/kubelet"
)

// Variables that name an agent for Windows, and a program there that plays the roles of
// internal/proc's tests: e2e/wine sets them.
const (
	windowsTarget = "WINE_TARGET"
	windowsTool   = "WINE_TOOL"
)

func TestCommandsInAWindowsGuest(t *testing.T) {
	target, tool := os.Getenv(windowsTarget), os.Getenv(windowsTool)
	if target == "" {
		t.Skip("no agent for Windows: e2e/wine/run.sh has one")
	}
	pool := client.NewPool(client.PoolConfig{})
	defer pool.Close()
	p := kubelet.New(pool, func(context.Context, string, string, string) (*kubelet.Target, error) {
		return &kubelet.Target{Agent: target}, nil
	})
	role := func(a *attachIO, role string, args ...string) error {
		return p.RunInContainer(context.Background(), "default", "vm", "main", append([]string{tool, "-role", role}, args...), a)
	}
	for code, want := range map[string]int{"7": 7, "259": 3, "3221225477": 5, "4294967295": 255} {
		errs := &sink{}
		err := role(&attachIO{stdout: &sink{}, stderr: errs}, "exit", code)
		exit, ok := err.(exec.ExitError) //nolint:errorlint // as virtual-kubelet does
		if !ok || exit.ExitStatus() != want {
			t.Errorf("exit code %s: %v, want status %d", code, err, want)
		}
	}
	out, errs := &sink{}, &sink{}
	if err := role(&attachIO{stdin: strings.NewReader(""), stdout: out, stderr: errs}, "both"); err != nil {
		t.Error(err)
	}
	if out.text.String() != "to stdout" || errs.text.String() != "to stderr" {
		t.Errorf("outputs %q and %q, want %q and %q", out.text.String(), errs.text.String(), "to stdout", "to stderr")
	}
	out = &sink{}
	if err := role(&attachIO{stdin: strings.NewReader("back"), stdout: out, stderr: &sink{}}, "cat"); err != nil || out.text.String() != "back" {
		t.Errorf("cat prints %q, %v, want %q", out.text.String(), err, "back")
	}
}
