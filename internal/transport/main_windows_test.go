package transport_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets the goroutine of the completion port be: it ends with the program.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/cocoonstack/cocoon-agent/internal/transport.complete"))
}
