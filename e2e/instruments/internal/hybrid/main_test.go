//go:build linux

package hybrid_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// It runs until the process ends.
		goleak.IgnoreAnyFunction("github.com/cocoonstack/cocoon-agent/e2e/instruments/internal/hybrid.(*hangupWatcher).run"))
}
