//go:build e2e && linux

// Package compat_test runs this tree's client against an agent of another version.
// run.sh copies it into an earlier tree, too: it uses nothing of e2e/checks that
// the earliest supported commit does not have.
package compat_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

func TestAgentOfAnotherVersion(t *testing.T) {
	program := os.Getenv("COMPAT_CLIENT")
	if program == "" {
		t.Fatal("COMPAT_CLIENT does not name the client's program: run make compat")
	}
	dir, err := os.MkdirTemp("", "compat") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	target := "unix://" + filepath.Join(dir, "s")
	checks.Serve(t, "--listen", target)
	a := checks.Agent{Program: program, Target: target}
	checks.Run(t, a)
	checks.Terminals(t, a)
}
