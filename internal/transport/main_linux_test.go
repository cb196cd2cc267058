package transport_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is also the program of other users' processes: see user_linux_test.go.
func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role, os.Getenv(socketVariable)))
	}
	goleak.VerifyTestMain(m)
}
