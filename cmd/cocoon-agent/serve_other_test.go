//go:build !linux

package main

import (
	"strings"
	"testing"
)

func TestServeNamesTheSystemThatItNeeds(t *testing.T) {
	for _, args := range [][]string{{"serve"}, {"serve", "--port", "1024"}, {"serve", "--listen=vsock://:1024", "--disable-v1"}} {
		status, out, errs := ran(args...)
		if status != statusFailure || out != "" || !strings.HasPrefix(errs, "cocoon-agent: serve runs on Linux only") {
			t.Errorf("run(%q): status %d, stdout %q, stderr %q; want %d and one line", args, status, out, errs, statusFailure)
		}
	}
}

func TestVsockTargetNamesTheSystemThatItNeeds(t *testing.T) {
	status, _, errs := ran("ping", "--cid", "3")
	if status != statusFailure || !strings.Contains(errs, "vsock:// needs Linux") {
		t.Errorf("ping --cid 3: status %d, stderr %q", status, errs)
	}
}
