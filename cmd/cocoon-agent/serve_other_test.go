//go:build !linux && !windows

package main

import (
	"strings"
	"testing"
)

func TestServeNamesTheSystemThatItNeeds(t *testing.T) {
	for _, args := range [][]string{{"serve"}, {"serve", "--port", "1024"}, {"serve", "--listen=vsock://:1024", "--disable-v1"}} {
		status, out, errs := ran(args...)
		if status != statusFailure || out != "" || !strings.HasPrefix(errs, "cocoon-agent: serve runs on Linux and Windows only") {
			t.Errorf("run(%q): status %d, stdout %q, stderr %q; want %d and one line", args, status, out, errs, statusFailure)
		}
	}
}
