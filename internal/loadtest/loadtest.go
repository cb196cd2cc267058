// Package loadtest marks the tests that make test runs without the race detector.
// The mark is a test's first statement: the Makefile looks for it.
package loadtest

import (
	"os"
	"testing"
)

// Heavy marks a test of much work, which the race detector multiplies. Under it the
// test is skipped, unless LOAD_TESTS is "race", as in make race.
func Heavy(t *testing.T) {
	t.Helper()
	if raceDetector && os.Getenv("LOAD_TESTS") != "race" {
		t.Skip("much work: it runs without the race detector, or with LOAD_TESTS=race")
	}
}

// WithoutC marks a test that a program with C's threads does not survive. The race
// detector brings them.
func WithoutC(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("runs without the race detector, which brings the C library's threads")
	}
}

// Memory marks a test that measures memory. The race detector uses memory, too.
func Memory(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("runs without the race detector, which has memory of its own")
	}
}
