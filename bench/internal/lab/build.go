//go:build linux

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A Build is one revision: its agent, and bench/host with its client package.
type Build struct {
	Name        string
	Agent, Host string // programs
}

// hostPackage is the directory in which bench/host is compiled. It does not exist:
// `go build -overlay` shows it to the compiler.
const hostPackage = "bench-host"

// Built returns the build that BuildRevision has put into a directory, and whether it is
// there.
func Built(directory string) (Build, bool) {
	b := buildIn(directory)
	for _, program := range []string{b.Agent, b.Host} {
		if at, err := os.Stat(program); err != nil || at.IsDir() {
			return Build{}, false
		}
	}
	return b, true
}

func buildIn(directory string) Build {
	return Build{Agent: filepath.Join(directory, "cocoon-agent"), Host: filepath.Join(directory, hostPackage)}
}

// BuildRevision builds the revision whose checkout is in dir, which it leaves as
// it is, into the directory out. hostSource is the text of bench/host.
func BuildRevision(ctx context.Context, dir, out, hostSource string) (Build, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Build{}, err
	}
	if out, err = filepath.Abs(out); err != nil {
		return Build{}, err
	}
	scratch, err := os.MkdirTemp("", "bench-build")
	if err != nil {
		return Build{}, err
	}
	defer os.RemoveAll(scratch)
	overlay, err := writeOverlay(scratch, filepath.Join(dir, hostPackage, "main.go"), hostSource)
	if err != nil {
		return Build{}, err
	}
	b := buildIn(out)
	b.Name = revision(ctx, dir)
	// The flags of `make build` and `make bench-build`.
	flags := "-s -w -X main.version=" + b.Name
	if err := goBuild(ctx, dir, "-ldflags", flags, "-o", b.Agent, "./cmd/cocoon-agent"); err != nil {
		return Build{}, err
	}
	if err := goBuild(ctx, dir, "-ldflags", "-s -w", "-overlay", overlay, "-o", b.Host, "./"+hostPackage); err != nil {
		return Build{}, err
	}
	return b, nil
}

// writeOverlay has the go command see a text in place of a file.
func writeOverlay(dir, file, text string) (overlay string, err error) {
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		return "", err
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {file: source}})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, replace, 0o600)
}

func goBuild(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-C", dir, "-trimpath", "-buildvcs=false"}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}

// revision is the commit of a checkout, or its directory's name if git knows none.
func revision(ctx context.Context, dir string) string {
	out, err := exec.CommandContext(ctx, "git", "-C", dir, "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		return filepath.Base(dir)
	}
	return strings.TrimSpace(string(out))
}
