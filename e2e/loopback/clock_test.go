//go:build e2e && linux

package loopback_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/e2e/checks"
)

// A guest's clock is wrong at boot and after a restore, and is then set. Here it
// is the host's too.
func TestClockThatJumpsChangesNoTimeout(t *testing.T) {
	checks.Serve(t, "--allow-cid", "1")
	pool := client.NewPool(client.PoolConfig{})
	defer pool.Close()
	for name, jump := range map[string]time.Duration{"forward": 24 * time.Hour, "back": -24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), checks.Patience)
			defer cancel()
			c, err := pool.Get(ctx, target)
			if err != nil {
				t.Fatal(err)
			}
			const timeout = 3 * time.Second
			cmd := c.CommandContext(ctx, "sleep", "1000")
			cmd.Timeout = timeout
			begun := time.Now() // with the clock that does not jump
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			setClock(t, jump)
			defer setClock(t, -jump)
			if again, err := pool.Get(ctx, target); err != nil || again != c {
				t.Errorf("the pool has another connection, or none: %v", err)
			}
			exit, ok := errors.AsType[*client.ExitError](cmd.Wait())
			if took := time.Since(begun); !ok || exit.Reason() != "timeout" || took < timeout {
				t.Errorf("%+v after %v", exit, took)
			}
			if out, err := c.CommandContext(ctx, "echo", "still here").Output(); string(out) != "still here\n" || err != nil {
				t.Errorf("echo = %q, %v, want %q", out, err, "still here\n")
			}
			if s := pool.Stats(); s.Dials != 1 || s.Probes != 0 || s.Evicted != 0 || s.Stale != 0 {
				t.Errorf("Stats = %+v, want one dial and nothing else", s)
			}
		})
	}
}

func setClock(t *testing.T, by time.Duration) {
	t.Helper()
	now := unix.NsecToTimespec(time.Now().Add(by).UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
		t.Fatal(err)
	}
}
