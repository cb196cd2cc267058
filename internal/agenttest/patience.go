package agenttest

import (
	"os"
	"runtime/pprof"
	"testing"
	"time"
)

// Patience is how long a test waits for what should happen at once, on a
// machine that may be busy.
const Patience = 2 * time.Minute

// Eventually waits until done says that something has happened.
func Eventually(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	deadline := time.Now().Add(Patience)
	for !done() {
		if time.Now().After(deadline) {
			tb.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond) //nolint:forbidigo // the poll's interval, not a synchronisation
	}
}

// Within waits for f to return. If f takes too long, Within reports what all goroutines
// are doing.
func Within(tb testing.TB, what string, f func()) {
	tb.Helper()
	done := make(chan struct{})
	go func() { f(); close(done) }() // ends with f
	timer := time.NewTimer(Patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		tb.Fatalf("never: %s", what)
	}
}
