//go:build !linux

package agenttest

import "testing"

func startAgent(tb testing.TB) (path string, log func() string) {
	tb.Helper()
	tb.Skip("agenttest: the agent runs on Linux only")
	return "", nil
}
