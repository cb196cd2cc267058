//go:build !linux

package main

import (
	"strings"
	"testing"
)

func TestVsockTargetNamesTheSystemThatItNeeds(t *testing.T) {
	status, _, errs := ran("ping", "--cid", "3")
	if status != statusFailure || !strings.Contains(errs, "vsock:// needs Linux") {
		t.Errorf("ping --cid 3: status %d, stderr %q", status, errs)
	}
}
