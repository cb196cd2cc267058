//go:build linux

package client_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// The request is longer than what the guest has room for without reading it.
func TestKillFollowsARequestGivenUpHalfSent(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for name, begin := range map[string]func(context.Context, *client.Client) error{
		"exec": func(ctx context.Context, c *client.Client) error { return c.CommandContext(ctx, long).Start() },
		"forward": func(ctx context.Context, c *client.Client) error {
			_, err := c.DialGuest(ctx, "unix", long)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, g := hostile(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			result := make(chan error, 1)
			go func() { result <- begin(ctx, c) }() // ends by cancel
			if _, err := g.in.Peek(1); err != nil {
				t.Fatal(err)
			}
			cancel()
			if err := <-result; !errors.Is(err, context.Canceled) {
				t.Errorf("%s = %v, want context.Canceled", name, err)
			}
			_, id := wire.About(g.receive())
			if k, ok := g.receive().(*wire.Kill); !ok || k.Exec != id {
				t.Errorf("after the request the guest got %+v, want a kill of %d", k, id)
			}
		})
	}
}
