//go:build e2e && linux

// Package vmm_test runs the checks against the agent in a VM that run has booted.
package vmm_test

import (
	"os"
	"testing"

	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

func TestInAVM(t *testing.T) {
	target := os.Getenv("VMM_TARGET")
	if target == "" {
		t.Fatal("VMM_TARGET does not name the agent: run e2e/vmm/run")
	}
	a := checks.Agent{Program: checks.Program(t), Target: target}
	checks.Run(t, a)
	checks.Terminals(t, a)
}
