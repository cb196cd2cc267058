//go:build linux

package client_test

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// wantNoDial wants a Get to wait for its back-off.
func wantNoDial(t *testing.T, p *client.Pool, v *fakeVM, dials int32) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := p.Get(ctx, "vm"); err == nil {
		t.Error("Get succeeds, want it to wait for the back-off")
	}
	if n := v.dials.Load(); n != dials {
		t.Errorf("%d dials, want %d", n, dials)
	}
}

// insist asks for a connection and for a command, again and again, for a minute,
// or until there were far too many dials.
func insist(t *testing.T, p *client.Pool, v *fakeVM) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil && v.dials.Load() < 10*mostDials {
		if c, err := p.Get(ctx, "vm"); err == nil {
			_ = c.CommandContext(ctx, "true").Run()
		}
	}
}

// mostDials is more than the attempts of a minute: 100 ms, 200 ms and so on to 5 s
// apart, and in truth half of that at least.
const mostDials = 40

func TestPoolPacesAnAgentThatGreetsAndHangsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, v := fakePool(t, client.PoolConfig{}, func(_ int, g *guest) {
			g.offend(greeting("b", ""))
			_ = g.mux.Close()
		})
		insist(t, p, v)
		if n := v.dials.Load(); n < 5 || n > mostDials {
			t.Errorf("%d dials in a minute, want 5 to %d", n, mostDials)
		}
		_ = p.Close()
	})
}

func TestPoolPacesAnAgentThatTakesNoRequests(t *testing.T) {
	for _, kind := range []wire.ErrorKind{wire.ShuttingDown, wire.Limit} {
		for name, hangUp := range map[string]bool{"stays": false, "hangs up": true} {
			t.Run(string(kind)+" and "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p, v := fakePool(t, client.PoolConfig{}, func(_ int, g *guest) {
						if !hangUp {
							g.refuse(greeting("b", ""), kind)
							return
						}
						g.offend(greeting("b", ""))
						if m, err := wire.Read(g.in); err == nil {
							_, id := wire.About(m)
							g.offend(&wire.Error{Head: wire.Head{ID: id}, Kind: kind})
						}
						_ = g.mux.Close()
					})
					if kind == wire.Limit && !hangUp {
						if err := get(t, p, "vm").Command("true").Run(); err == nil {
							t.Error("Run = nil, want a refusal")
						}
					} else {
						insist(t, p, v)
					}
					if n := v.dials.Load(); n > mostDials {
						t.Errorf("%d dials in a minute, want at most %d", n, mostDials)
					}
					_ = p.Close()
				})
			})
		}
	}
}

func TestPoolWaitsLittleForAnAgentThatIsRestarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lifetime, restarts = 100 * time.Millisecond, 20
		p, v := fakePool(t, client.PoolConfig{MinBackoff: lifetime}, answerOnce(lifetime))
		begun := time.Now()
		for range restarts {
			c := get(t, p, "vm")
			wantKind(t, c.Command("nosuch").Run(), client.NotFound)
			<-c.Done()
		}
		if took := time.Since(begun); took > restarts*2*lifetime || v.dials.Load() != restarts {
			t.Errorf("%d dials took %v, want %d in %v", v.dials.Load(), took, restarts, restarts*2*lifetime)
		}
		_ = p.Close()
	})
}

func TestPoolForgetsTheBackOffAfterALifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lifetime = 10 * time.Second
		config := client.PoolConfig{MinBackoff: lifetime / 2, MaxBackoff: lifetime, ProbeAfter: time.Hour}
		p, v := fakePool(t, config, func(_ int, g *guest) {
			g.offend(greeting("b", ""))
			<-time.After(lifetime) // of the bubble
			_ = g.mux.Close()
		})
		begun := time.Now()
		for range 5 {
			<-get(t, p, "vm").Done()
		}
		if took := time.Since(begun); took != 5*lifetime || v.dials.Load() != 5 {
			t.Errorf("%d dials took %v, want 5 in %v", v.dials.Load(), took, 5*lifetime)
		}
		_ = p.Close()
	})
}

func TestPoolCountsNoConnectionThatItEvicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, v := fakePool(t, client.PoolConfig{MaxConns: 1, MinBackoff: time.Hour}, func(_ int, g *guest) { g.serve(greeting("b", "")) })
		begun := time.Now()
		for range 5 {
			for _, target := range []string{"one", "two"} {
				get(t, p, target)
			}
		}
		if took := time.Since(begun); took != 0 || v.dials.Load() != 10 {
			t.Errorf("%d dials took %v, want 10 without waiting", v.dials.Load(), took)
		}
		_ = p.Close()
	})
}

// An agent that is being upgraded says that it goes down, and is there again at once.
func TestPoolWaitsForAnAgentThatIsUpgraded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &fakeVM{tb: t, behave: func(_ int, g *guest) { g.serve(greeting("b", oneAgent)) }}
		p := newPool(t, client.PoolConfig{Dial: goingDown(3, v.dial)})
		if err := get(t, p, "vm").Command("true").Run(); err != nil {
			t.Errorf("Run = %v, want success over the fourth connection", err)
		}
		_ = p.Close()
	})
}

func TestPoolDoesNotWaitLongForAnAgentThatGoesDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t, client.PoolConfig{DialTimeout: 3 * time.Second, Dial: goingDown(100, nil)})
		begun := time.Now()
		_, err := p.Get(t.Context(), "vm")
		wantKind(t, err, client.ShuttingDown)
		if d, n := time.Since(begun), p.Stats().Dials; d < 3*time.Second || d > 10*time.Second || n < 3 {
			t.Errorf("Get = %v after %v and %d dials, want 3 s and the next attempt", err, d, n)
		}
		_ = p.Close()
	})
}

// goingDown refuses the first connections, and then is dial.
func goingDown(refused int, dial func(context.Context, string) (net.Conn, error)) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, target string) (net.Conn, error) {
		refused--
		if refused < 0 {
			return dial(ctx, target)
		}
		ours, theirs := net.Pipe()
		go says("shutting_down")(theirs)
		return ours, nil
	}
}
