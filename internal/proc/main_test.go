//go:build linux

package proc_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/cocoonstack/cocoon-agent/internal/proc"
)

// patience is how long a test waits for what must happen, on a machine that may
// be busy.
const patience = 60 * time.Second

// linger is how long output is read after the exit, if a test says nothing else.
const linger = 10 * time.Second

func TestMain(m *testing.M) {
	proc.ForceStart(os.Getenv("PROC_TEST_START"))
	proc.SetNSSTime(patience)
	if role := os.Getenv(roleVariable); role != "" {
		play(role)
		os.Exit(0)
	}
	_ = os.Setenv(runVariable, strconv.Itoa(os.Getpid()))
	openPoller()
	before := leftovers()
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if left := leftoversBeyond(before); len(left) > 0 {
			fmt.Fprintln(os.Stderr, "left behind by the tests:", left)
			code = max(code, 1)
		}
		os.Exit(code)
	}))
}

// eventually waits for what tells of itself in no other way.
func eventually(tb testing.TB, what string, is func() bool) {
	tb.Helper()
	if !poll(is) {
		tb.Fatalf("not within %v: %s", patience, what)
	}
}

func poll(is func() bool) bool {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return false
		}
	}
	return true
}
