package agenttest

import (
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
)

// startAgent runs an agent in this process until the end of the test.
func startAgent(tb testing.TB) (path string, log func() string) {
	tb.Helper()
	a := agenttest.Start(tb)
	return a.Path, a.Log.String
}
