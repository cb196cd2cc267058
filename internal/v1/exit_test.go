package v1_test

import (
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/v1"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

func TestWindowsExitCodeIsNotASignal(t *testing.T) {
	for _, m := range []wire.Exited{
		{Code: -1, Status: 0xFFFFFFFF, Reason: wire.ReasonExit},
		{Code: -1073741819, Status: 0xC0000005, Reason: wire.ReasonExit},
		{Code: 7, Status: 7, Reason: wire.ReasonExit},
	} {
		if f := v1.ExitFrame(&m); f.Type != v1.TypeExit || f.ExitCode != int(m.Status) {
			t.Errorf("ExitFrame(%+v) = %+v, want an exit of %d", m, f, m.Status)
		}
	}
	if f := v1.ExitFrame(&wire.Exited{Code: -1, Signal: "KILL", SignalNumber: 9, Reason: wire.ReasonSignal}); f.ExitCode != -1 {
		t.Errorf("by a signal: %+v", f)
	}
}
