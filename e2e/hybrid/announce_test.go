//go:build e2e && linux

package hybrid_test

import (
	"context"
	"syscall"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

// announced hears the agent of a guest announce itself, and again when a restore has reset its
// connections.
func (vm *vm) announced(t *testing.T) {
	l, err := client.ListenReady(vm.Target, 52)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), checks.Patience)
	defer cancel()
	for _, what := range []string{"of an agent that is ready already", "once somebody listens", "after a reset"} {
		if what == "after a reset" {
			if err := vm.device.Process.Signal(syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
		}
		h, err := l.Wait(ctx)
		if err != nil || h.AgentID == "" {
			t.Fatalf("Wait %s = %+v, %v", what, h, err)
		}
	}
}
