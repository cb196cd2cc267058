//go:build linux

package client_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cocoonstack/cocoon-agent/client"
	"github.com/cocoonstack/cocoon-agent/internal/wire"
)

// A guest may send anything to look alive, but for an answer.
func TestPoolFindsOutAConnectionThatSendsJunk(t *testing.T) {
	for name, alive := range map[string]time.Duration{"at once": 0, "later": time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				replaced := make(chan struct{})
				p, _ := fakePool(t, client.PoolConfig{}, func(dial int, g *guest) {
					if dial > 1 {
						close(replaced)
						g.serve(greeting("b", ""))
						return
					}
					g.offend(greeting("b", ""))
					e, _ := wire.Read(g.in)
					g.offend(&wire.Started{Head: wire.Head{ID: e.(*wire.Exec).ID}, PID: 42})
					go g.junk(replaced) // ends with the connection
					<-replaced
					<-time.After(time.Second) // of the bubble: before it is judged
					g.answerFor(alive)
				})
				cmd := get(t, p, "vm").Command("anything")
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				err := cmd.Wait()
				if _, ok := errors.AsType[*client.LostExitError](err); !ok || !strings.Contains(err.Error(), "the VM was probably restored") {
					t.Errorf("Wait = %v (%T), want a LostExitError", err, err)
				}
				if s := p.Stats(); s.Stale != 1 {
					t.Errorf("%d stale connections, want 1", s.Stale)
				}
				_ = p.Close()
			})
		})
	}
}

// junk sends what nobody has asked for, from when begin is closed.
func (g *guest) junk(begin <-chan struct{}) {
	<-begin
	for wire.Write(g.control, &wire.Done{Head: wire.Head{ID: 1 << 60}}) == nil {
		select {
		case <-time.After(100 * time.Millisecond): // of the bubble
		case <-g.mux.Done():
		}
	}
}

// answerFor answers pings, for a while, and reads on.
func (g *guest) answerFor(alive time.Duration) {
	begun := time.Now()
	for {
		m, err := wire.Read(g.in)
		if err != nil {
			return // the connection has ended
		}
		if ping, ok := m.(*wire.Ping); ok && time.Since(begun) < alive {
			g.offend(&wire.Done{Head: wire.Head{ID: ping.ID}})
		}
	}
}

// One VM must not fill the pool, whatever it does not answer.
func TestPoolBoundsReplacedConnectionsOfATarget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, v := fakePool(t, client.PoolConfig{}, startOnly)
		const rounds = 2 * client.MaxRetired
		ended := make(chan error, rounds)
		for range rounds {
			cmd := get(t, p, "vm").Command("anything")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			go func() { ended <- cmd.Wait() }() // ends with its connection
			<-time.After(20 * time.Second)      // of the bubble: it is silent, and is replaced
		}
		if n := v.dials.Load(); n < rounds {
			t.Fatalf("%d connections were made, want %d: the test is to replace them", n, rounds)
		}
		if s := p.Stats(); s.Conns > client.MaxRetired+1 {
			t.Errorf("%d connections are open, want at most %d", s.Conns, client.MaxRetired+1)
		}
		if err := <-ended; !errors.Is(err, client.ErrLost) {
			t.Errorf("Wait on the oldest = %v, want ErrLost", err)
		}
		_ = p.Close()
	})
}

func TestPoolPacesAgentsThatAnswerOnceAndHangUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, v := fakePool(t, client.PoolConfig{}, answerOnce(0))
		insist(t, p, v)
		if n := v.dials.Load(); n < 5 || n > mostDials {
			t.Errorf("%d dials in a minute, want 5 to %d", n, mostDials)
		}
		_ = p.Close()
	})
}

// answerOnce is a guest that answers one request, and hangs up some time later.
func answerOnce(later time.Duration) func(int, *guest) {
	return func(_ int, g *guest) {
		g.offend(greeting("b", ""))
		if m, err := wire.Read(g.in); err == nil {
			_, id := wire.About(m)
			g.offend(&wire.Error{Head: wire.Head{ID: id}, Kind: wire.NotFound})
			<-time.After(later) // of the bubble
		}
		_ = g.mux.Close()
	}
}
