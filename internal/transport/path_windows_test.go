package transport_test

import (
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/transport"
)

func TestSocketPathHasNoSlashBeforeADrive(t *testing.T) {
	for path, want := range map[string]string{
		"/C:/run/agent.sock": "C:/run/agent.sock",
		"/z:/a":              "z:/a",
		"/run/agent.sock":    "/run/agent.sock",
		"/1:/a":              "/1:/a",
		"/":                  "/",
	} {
		if got := transport.SocketPath(path); got != want {
			t.Errorf("SocketPath(%q) = %q, want %q", path, got, want)
		}
	}
}
