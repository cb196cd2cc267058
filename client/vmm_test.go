//go:build linux

package client_test

import (
	"testing"

	vmtest "github.com/cocoonstack/cocoon-agent/client/agenttest"
)

// startVMM returns a VM in which an agent listens on a Unix socket.
func startVMM(tb testing.TB, guest string) *vmtest.VM {
	tb.Helper()
	return vmtest.NewWith(tb, vmtest.Options{Agent: guest})
}
