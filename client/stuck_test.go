//go:build linux

package client_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/agenttest"
)

// A VM may be paused for days, while its callers go on asking.
func TestRequestsThatCannotBeSentDoNotPileUp(t *testing.T) {
	const requests, most = 3000, 100
	for name, ask := range map[string]func(context.Context, *client.Client) error{
		"requests": func(ctx context.Context, c *client.Client) error { return c.Reseed(ctx, make([]byte, 512), false) },
		"commands": func(ctx context.Context, c *client.Client) error {
			return c.CommandContext(ctx, "true", string(make([]byte, 512))).Run()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := mute(t) // and reads no more: the window of the control stream holds some 500
			before := runtime.NumGoroutine()
			for range requests {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Microsecond)
				if err := ask(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
					t.Fatal(err)
				}
				cancel()
			}
			agenttest.Eventually(t, "the goroutines of requests that were given up end, but for a few", func() bool {
				return runtime.NumGoroutine() < before+most
			})
		})
	}
}
