//go:build linux

package session_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/session"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// The lower of what an exec asks for and the ceiling counts.
func TestCeilingBoundsWhatIsAskedFor(t *testing.T) {
	a := agenttest.StartWith(t, func(c *session.Config) {
		c.Ceilings = session.Ceilings{Memory: 64 << 20, PIDs: 50, Time: time.Hour}
	})
	h := connect(t, a)
	for i, test := range []struct {
		asked     *wire.Limits
		timeoutMS uint64
		want      string
	}{
		{nil, 0, `"memory":67108864,"pids":50,"timeout_ms":3600000`},
		{&wire.Limits{Memory: 1 << 40, PIDs: 51}, 1 << 63, `"memory":67108864,"pids":50,"timeout_ms":3600000`},
		{&wire.Limits{Memory: 1 << 20, PIDs: 7, CPUMilli: 500}, 5000, `"memory":1048576,"pids":7,"cpu_milli":500,"timeout_ms":5000`},
	} {
		id := uint64(i + 1)
		h.send(&wire.Exec{Head: wire.Head{ID: id}, Argv: []string{"true"}, Limits: test.asked, TimeoutMS: test.timeoutMS})
		// An agent without cgroups, as this one is in most places, refuses every limit.
		if m := h.receive(); isStarted(m) {
			h.receive() // its end
		} else {
			wantError(t, m, id, wire.Unsupported, "")
		}
		if log := a.Log.String(); !strings.Contains(log, test.want) {
			t.Errorf("limits %+v, timeout %d: no record with %s in the log: %s", test.asked, test.timeoutMS, test.want, log)
		}
	}
}

func isStarted(m wire.Message) bool {
	_, ok := m.(*wire.Started)
	return ok
}

func TestCeilingOfTimeEndsAnExecThatAsksForNone(t *testing.T) {
	h := connect(t, agenttest.StartWith(t, func(c *session.Config) {
		c.Ceilings.Time = 2 * time.Second
	}))
	h.exec(1, "sleep", "1000")
	if x, ok := h.receive().(*wire.Exited); !ok || x.Reason != wire.ReasonTimeout {
		t.Errorf("the end of an exec beyond the ceiling: %+v, want the reason timeout", x)
	}
}
