package proc_test

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// patience is how long a test waits for what must happen, on a machine that may be busy.
const patience = 60 * time.Second

// linger is how long output is read after the exit, if a test says nothing else.
const linger = 10 * time.Second

func TestMain(m *testing.M) {
	if status, acted := proc.ActAsHelper(); acted {
		os.Exit(status)
	}
	if len(os.Args) > 2 && os.Args[1] == roleWord {
		os.Exit(play(os.Args[2], os.Args[3:]))
	}
	goleak.VerifyTestMain(m)
}

// eventually waits for what tells of itself in no other way.
func eventually(tb testing.TB, what string, is func() bool) {
	tb.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline.C:
			tb.Fatalf("not within %v: %s", patience, what)
		}
	}
}
