package local_test

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
	"github.com/cocoonstack/cocoon-agent/internal/local"
)

// A service that has accepted a connection that nobody wants any more sees a reset: an end would
// tell it that it has got all.
func TestDialThatIsGivenUpResets(t *testing.T) {
	ln := agenttest.Listen(t, "tcp")
	dialers := map[string]local.Dialer{"as itself": here}
	if os.Geteuid() == 0 {
		dialers["as nobody"] = local.Dialer{As: &local.User{UID: 65534, GID: 65534}}
	}
	for name, d := range dialers {
		to := address(t, "tcp", ln.Addr().String())
		late := 0
		for range 500 {
			ctx, cancel := context.WithCancel(t.Context())
			dialed := make(chan error, 1)
			go func() {
				c, err := d.Dial(ctx, to)
				switch {
				case err == nil:
					c.Close()
				case ctx.Err() == nil: // nothing comes
					_ = ln.Close()
				}
				dialed <- err
			}()
			nc, err := ln.Accept()
			cancel()
			if err != nil {
				t.Fatalf("%s: %v; the dial: %v", name, err, <-dialed)
			}
			_, err = io.ReadAll(nc)
			if !isReset(err) {
				t.Errorf("%s: %v", name, err)
			}
			if errors.Is(<-dialed, context.Canceled) {
				late++
			}
			_ = nc.Close()
		}
		t.Logf("%s: %d connections were given up", name, late)
	}
}
