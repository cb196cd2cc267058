//go:build linux

package session_test

import (
	"math"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func TestZeroLimitsAreAccepted(t *testing.T) {
	h := connect(t, agenttest.Start(t))
	h.send(&wire.Exec{Head: wire.Head{ID: 1}, Argv: []string{"true"}, Limits: &wire.Limits{}})
	if _, ok := h.receive().(*wire.Started); !ok {
		t.Error("it has not started")
	}
}

func TestLimitOutOfRangeIsABadRequest(t *testing.T) {
	h := connect(t, agenttest.Start(t))
	for i, test := range []struct {
		limits wire.Limits
		text   string
	}{
		{wire.Limits{Memory: math.MaxInt64 + 1}, "limit 9223372036854775808"},
		{wire.Limits{PIDs: math.MaxUint64}, "limit 18446744073709551615"},
		{wire.Limits{CPUMilli: 1 << 63}, "limit 9223372036854775808"},
		{wire.Limits{Memory: 4096}, "memory limit"},
		{wire.Limits{PIDs: 1 << 40}, "pids limit"},
		{wire.Limits{CPUMilli: 9}, "cpu limit"},
	} {
		id := uint64(i + 1)
		h.send(&wire.Exec{Head: wire.Head{ID: id}, Argv: []string{"true"}, Limits: &test.limits})
		wantError(t, h.receive(), id, wire.BadRequest, test.text)
	}
}
